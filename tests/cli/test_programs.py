import sys

import pytest

from raytag.cli.programs import program


@pytest.fixture
def environment(tmp_path, monkeypatch):
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    for name in ("python", "mlflow"):
        (folder / name).touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.chdir(tmp_path)
    return folder


def test_in_an_active_environment_the_name_is_enough(environment, monkeypatch):
    monkeypatch.setenv("PATH", str(environment))

    assert program("mlflow") == "mlflow"


@pytest.mark.usefixtures("environment")
def test_elsewhere_the_path_is_needed(monkeypatch):
    monkeypatch.setenv("PATH", "")

    assert program("mlflow") == ".venv/bin/mlflow"
