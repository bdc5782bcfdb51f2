"""Whose verdict of the gates a study may take over. That a search does so is in test_series.py."""

import pytest

from raytag.search.folder import StudyFolder
from raytag.search.verdict import has_passed, keep_verdict, studies_of_its_file


@pytest.fixture
def make_study(tmp_path, make_experiment, space):
    """Make the folder of a study in the folder ``whole``."""

    def make(name, whole="runs"):
        experiment = make_experiment().model_copy(update={"name": name, "output": tmp_path / whole})
        folder = StudyFolder(experiment.study_folder)
        folder.prepare(experiment, space)
        return folder, experiment

    return make


def test_another_study_of_the_same_file_passed_for_both(make_study):
    (folder, experiment), (other, _) = make_study("toy-a", "toy"), make_study("toy-b", "toy")
    keep_verdict(other, experiment, {"passed": True})

    assert [study for study in studies_of_its_file(folder, experiment) if has_passed(study, experiment)] == [other]


def test_studies_of_other_files_are_left_alone_even_if_they_cannot_be_read(make_study):
    (folder, experiment), (other, _) = make_study("toy"), make_study("older")
    other.experiment.write_text("name: older\n")

    assert not list(studies_of_its_file(folder, experiment))
