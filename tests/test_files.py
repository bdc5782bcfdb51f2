import math
from pathlib import Path

import pytest
from strict_json import read_strictly

from raytag.files import write_atomically, write_json


def test_a_writer_killed_halfway_leaves_the_old_text(tmp_path, monkeypatch):
    path = tmp_path / "gates.json"
    write_atomically(path, "old")

    def write_half(self, text):
        self.write_bytes(text[: len(text) // 2].encode())
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", write_half)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, "new and longer")

    assert path.read_text() == "old"


def test_no_partial_file_stays(tmp_path):
    write_atomically(tmp_path / "identity", "a")

    assert [path.name for path in tmp_path.iterdir()] == ["identity"]


def test_json_holds_no_number_that_strict_readers_refuse(tmp_path):
    write_json(
        tmp_path / "gates.json", {"a": [math.nan, (math.inf, 1e-9)], "b": {"c": -math.inf}, "passed": None, "n": 2}
    )

    assert read_strictly(tmp_path / "gates.json") == {
        "a": [None, ["infinite", 1e-9]],
        "b": {"c": "-infinite"},
        "passed": None,
        "n": 2,
    }
