from pathlib import Path

import pytest

from raytag.cli.search import study_argument
from raytag.cli.transfer import _study_path


@pytest.fixture(autouse=True)
def working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("folder", "expected"),
    [("runs/tiny", "tiny"), ("studies/tiny", "studies/tiny"), ("runs/deeper/tiny", "runs/deeper/tiny")],
)
def test_the_next_command_finds_the_study(folder, expected):
    path = Path(folder).absolute()
    path.mkdir(parents=True)

    assert study_argument(path) == expected
    assert _study_path(expected) == path


def test_a_folder_elsewhere_is_named_whole_and_quoted(tmp_path, monkeypatch):
    path = tmp_path / "my studies" / "tiny"
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")

    assert study_argument(path) == f"'{path}'"


def test_a_name_that_is_also_a_folder_here_is_not_enough(working_directory):
    (working_directory / "tiny").mkdir()

    assert study_argument(working_directory / "runs" / "tiny") == "runs/tiny"
