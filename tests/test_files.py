from pathlib import Path

import pytest

from raytag.files import write_atomically


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
