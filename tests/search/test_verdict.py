"""Whose verdict of the gates a study may take over. That a search does so is in test_series.py."""

import math

import pytest
from strict_json import read_strictly

from raytag.search.folder import StudyFolder
from raytag.search.verdict import gate_tags, has_passed, keep_verdict, stored_verdict, studies_of_its_file


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


def test_a_verdict_of_trainings_that_broke_is_kept_for_strict_readers_and_read_back(make_study):
    folder, experiment = make_study("toy")
    broken = {"passed": False, "lines": ["FAIL"], "largest": math.inf, "log2_sizes": [1.0, math.nan]}

    keep_verdict(folder, experiment, broken)
    keep_verdict(folder, experiment, stored_verdict(folder))  # as a verification takes over what a wide run keeps

    assert read_strictly(folder.gates).items() >= {"largest": "infinite", "log2_sizes": [1.0, None]}.items()
    assert stored_verdict(folder)["lines"] == ["FAIL"]
    assert gate_tags(stored_verdict(folder)) == {"mup.gates": "failed"}
    assert not has_passed(folder, experiment)
