"""What several commands are tried on."""

import pytest
from finished_study import make_study


@pytest.fixture
def home(tmp_path, jets, monkeypatch):
    """A working directory with the study ``tiny``."""
    make_study(tmp_path, jets)
    monkeypatch.chdir(tmp_path)
    return tmp_path
