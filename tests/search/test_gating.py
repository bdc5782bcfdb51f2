"""When the gates need not run, which takes no Ray. That they run, and stop what fails, is in test_driver.py."""

from io import StringIO

import pytest
from rich.console import Console

from raytag.config.experiment import MupConfig
from raytag.search.folder import StudyFolder
from raytag.search.gating import check_mup
from raytag.search.verdict import has_passed, keep_verdict, stored_verdict


@pytest.fixture
def folders(tmp_path):
    """Return the folders of two studies."""
    folders = StudyFolder(tmp_path / "toy-a"), StudyFolder(tmp_path / "toy-b")
    for folder in folders:
        folder.path.mkdir()
    return folders


@pytest.fixture
def console():
    return Console(file=StringIO())


def test_gates_that_are_to_be_skipped_are_said_and_kept_as_such(folders, make_experiment, console):
    experiment = make_experiment().model_copy(update={"mup": MupConfig(skip_check=True)})

    gates = check_mup(experiment, folders[0], console)

    assert gates["passed"] is None
    assert console.file.getvalue() == "muP gates: skipped (mup.skip_check)\n"
    assert stored_verdict(folders[0])["passed"] is None


def test_gates_that_passed_before_are_told_and_make_no_new_verdict(folders, make_experiment, console):
    keep_verdict(folders[0], make_experiment(), {"passed": True})

    assert check_mup(make_experiment(), folders[0], console) is None
    assert console.file.getvalue() == "muP gates: passed before, with the same settings\n"


def test_gates_that_passed_with_other_settings_are_not_taken_over(folders, make_experiment):
    keep_verdict(folders[0], make_experiment(), {"passed": True})
    other = make_experiment().model_copy(update={"mup": MupConfig(base_width=16)})

    assert not has_passed(folders[0], other)


def test_a_verdict_of_another_folder_is_taken_over_and_named(folders, make_experiment, console):
    folder, other = folders
    keep_verdict(other, make_experiment(), {"passed": True, "lines": ["figures"]})

    gates = check_mup(make_experiment(), folder, console, others=folders)

    assert gates["lines"] == ["muP gates: passed before, in toy-b, with the same settings"]
    assert has_passed(folder, make_experiment())
