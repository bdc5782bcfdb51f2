"""What several commands are tried on, and how they say what is wrong."""

import pytest
from finished_study import make_study

from raytag.cli.main import main


@pytest.fixture
def home(tmp_path, jets, monkeypatch):
    """A working directory with the study ``tiny``."""
    make_study(tmp_path, jets)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def error_of(capsys):
    """Run a command that must end with exit code 2, one line that tells of an error and no other; return the line."""

    def run(*words):
        capsys.readouterr()
        assert main([*words]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        return err

    return run
