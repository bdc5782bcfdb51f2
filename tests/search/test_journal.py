"""What a study's file survives, and what reading it takes; all through the study, whose file it is."""

from pathlib import Path
from unittest.mock import Mock

import optuna
import pytest

from raytag.errors import StudyError
from raytag.records import TrialState
from raytag.search.folder import StudyFolder
from raytag.search.study import Study


def finish(study, name):
    study.report(name, 40, [{"val/objective": 1.0}])


def test_a_half_written_line_of_a_killed_writer_is_dropped(open_study, tmp_path):
    name = open_study().ask(32)
    journal = tmp_path / "study" / "study.journal"
    with journal.open("a") as file:
        file.write('{"op_code": 5, "wor')

    finish(open_study(), name)

    assert open_study().record(name).state is TrialState.COMPLETE


def test_a_lock_left_by_a_killed_writer_delays_nobody(open_study, tmp_path):
    open_study()
    Path(tmp_path / "study" / "study.journal.lock").symlink_to("study.journal")

    assert open_study().ask(32) == "w32-0000"


def test_a_trial_killed_before_its_failure_was_written_has_failed_when_the_study_is_opened(open_study, monkeypatch):
    study = open_study()
    name = study.ask(32)
    with monkeypatch.context() as patch:
        patch.setattr("optuna.Study.tell", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            study.fail(name, "out of memory")

    resumed = open_study()
    assert resumed.unfinished(32) == []
    assert resumed.record(name).state is TrialState.FAILED


@pytest.mark.parametrize("diverged", [True, False])
def test_whether_a_trial_has_diverged_or_broke_off_is_read_back(open_study, diverged):
    study = open_study()
    study.fail(study.ask(32), "why", diverged=diverged)

    record = open_study().record("w32-0000")
    assert (record.has_diverged, record.broke_off) == (diverged, not diverged)


def test_a_failed_trial_of_an_older_study_counts_as_diverged(open_study):
    study = open_study()
    study._journal.end(study.ask(32), optuna.trial.TrialState.FAIL)

    assert open_study().record("w32-0000").has_diverged


def test_reading_a_study_needs_only_its_folder(open_study, tmp_path, make_experiment, space):
    StudyFolder(tmp_path / "study").prepare(make_experiment(), space)
    study = open_study()
    finish(study, study.ask(64))

    assert Study.load(StudyFolder(tmp_path / "study")).records() == study.records()


def test_a_study_killed_between_its_widths_is_read_and_goes_on(
    open_study, tmp_path, make_experiment, space, monkeypatch
):
    folder = StudyFolder(tmp_path / "study")
    folder.prepare(make_experiment(), space)
    create, created = optuna.create_study, []

    def create_once(**arguments):
        if created:
            raise KeyboardInterrupt
        created.append(create(**arguments))
        return created[-1]

    with monkeypatch.context() as patch:
        patch.setattr("optuna.create_study", create_once)
        with pytest.raises(KeyboardInterrupt):
            open_study()

    assert Study.load(folder).records() == []
    assert open_study().ask(64) == "w64-0000"


def test_reading_where_no_study_is_says_so(tmp_path):
    with pytest.raises(StudyError, match="no study here"):
        Study.load(StudyFolder(tmp_path / "nothing"))
