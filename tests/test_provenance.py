"""The provenance tells the exact source, packages and machine behind a result."""

import json
import platform
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from raytag import provenance


def git(folder, *arguments):
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "init.defaultBranch=main"]
    return subprocess.run(["git", *identity, "-C", str(folder), *arguments], check=True, capture_output=True, text=True)


@pytest.fixture
def source(tmp_path):
    """A committed source folder inside a checkout."""
    source = tmp_path / "package"
    source.mkdir()
    (source / "module.py").write_text("x = 1\n")
    (tmp_path / "notes.txt").write_text("beside the package\n")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "Begin")
    return source


def test_a_clean_checkout_is_its_commit(source):
    state = provenance.code_state(source)

    assert state.commit == git(source, "rev-parse", "HEAD").stdout.strip()
    assert not state.is_dirty
    assert (state.diff, state.diff_digest, state.untracked) == ("", None, ())


def test_an_uncommitted_change_is_kept_as_a_patch(source):
    (source / "module.py").write_text("x = 2\n")

    state = provenance.code_state(source)

    assert state.is_dirty
    assert "-x = 1\n+x = 2\n" in state.diff


def test_the_digest_tells_two_changes_apart(source):
    digests = set()
    for value in (2, 3):
        (source / "module.py").write_text(f"x = {value}\n")
        digests.add(provenance.code_state(source).diff_digest)

    assert len(digests) == 2


def test_a_staged_change_is_a_change(source):
    (source / "module.py").write_text("x = 2\n")
    git(source, "add", ".")

    assert provenance.code_state(source).is_dirty


def test_a_new_file_is_named(source):
    (source / "extra.py").touch()

    state = provenance.code_state(source)

    assert state.is_dirty
    assert state.untracked == ("extra.py",)


def test_changes_beside_the_package_do_not_count(source):
    (source.parent / "notes.txt").write_text("changed\n")
    (source.parent / "more.txt").touch()

    assert not provenance.code_state(source).is_dirty


def test_outside_a_checkout_there_is_no_commit(tmp_path):
    assert provenance.code_state(tmp_path) is None


def test_a_package_installed_inside_a_strange_checkout_has_no_commit(source):
    installed = source.parent / ".venv" / "raytag"
    installed.mkdir(parents=True)
    (installed / "module.py").touch()

    assert provenance.code_state(installed) is None


def test_without_git_there_is_no_commit(source, monkeypatch):
    monkeypatch.setenv("PATH", "")

    assert provenance.code_state(source) is None


def test_the_record_is_plain_json(monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "raytag.search", "a file.yaml"])
    before = datetime.now(UTC).replace(microsecond=0)

    record = json.loads(json.dumps(provenance.collect({"sampler": 1, "data": 0}).to_dict()))

    assert record["seeds"] == {"sampler": 1, "data": 0}
    assert record["command"] == "python -m raytag.search 'a file.yaml'"
    assert record["python"] == platform.python_version()
    assert before <= datetime.fromisoformat(record["started"]) <= datetime.now(UTC)


def test_package_versions_are_those_installed():
    numpy = subprocess.run(
        [sys.executable, "-c", "import numpy; print(numpy.__version__)"], check=True, capture_output=True, text=True
    )

    assert provenance.package_versions()["numpy"] == numpy.stdout.strip()


def test_collecting_loads_no_heavy_package():
    code = "import sys; from raytag import provenance; provenance.collect({}); print('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "False\n"
