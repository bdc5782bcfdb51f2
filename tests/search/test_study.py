from unittest.mock import Mock

import pytest

from raytag.records import TrialState


def report(study, name, step, objective):
    return study.report(name, step, [{"val/objective": objective, "val/loss": 2 * objective}])


def finish(study, name):
    """Run a trial to its end, with a loss that follows from its learning rate."""
    for step in (10, 20, 30, 40):
        if not report(study, name, step, study.record(name).lr / step):
            break


def searched(study, width):
    return [record.searched for record in study.records() if record.width == width]


def test_a_trial_counts_its_steps_and_completes_at_the_last_one(open_study):
    study = open_study()
    name = study.ask(32)

    assert [report(study, name, step, 1 / step) for step in (10, 20, 30, 40)] == [True, True, True, False]

    record = study.record(name)
    assert record.state is TrialState.COMPLETE
    assert record.objective == 1 / 40
    assert record.history[20] == {"val/objective": 1 / 20, "val/loss": 1 / 10}


def test_start_up_trials_are_paired_across_widths(open_study):
    study = open_study()
    for width in (32, 64):
        for _ in range(2):
            finish(study, study.ask(width))

    assert searched(study, 32) == searched(study, 64)
    assert searched(study, 32)[0] != searched(study, 32)[1]
    assert study.record("w32-0001").seed == study.record("w64-0001").seed != study.record("w32-0000").seed


def test_a_reopened_study_suggests_what_an_uninterrupted_one_does(open_study):
    uninterrupted, resumed = open_study(name="uninterrupted"), open_study(name="resumed")
    for _ in range(6):
        finish(uninterrupted, uninterrupted.ask(32))
        resumed = open_study(name="resumed")
        finish(resumed, resumed.ask(32))

    assert searched(resumed, 32) == searched(uninterrupted, 32)


def test_tpe_takes_over_after_the_start_up_trials(open_study, make_experiment):
    tpe, random = open_study(name="tpe"), open_study(make_experiment(sampler="random"), name="random")
    for study in (tpe, random):
        for _ in range(4):
            finish(study, study.ask(32))

    same = [a == b for a, b in zip(searched(tpe, 32), searched(random, 32), strict=True)]
    assert same == [True, True, False, False]


def test_a_repeated_report_changes_nothing(open_study):
    study = open_study()
    name = study.ask(32)
    report(study, name, 10, 0.5)
    before = study.record(name)

    assert report(study, name, 10, 0.9)
    assert study.record(name) == before


@pytest.fixture
def killed_at_tell(monkeypatch):
    """Return what makes a report as a process does that is killed just before it ends the trial."""

    def report_and_die(study, name, step, objective):
        with monkeypatch.context() as patch:
            patch.setattr("optuna.Study.tell", Mock(side_effect=KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                report(study, name, step, objective)

    return report_and_die


def test_a_trial_killed_before_its_end_was_written_completes_when_the_report_is_repeated(open_study, killed_at_tell):
    study = open_study()
    name = study.ask(32)
    killed_at_tell(study, name, 40, 0.5)

    resumed = open_study()
    assert not report(resumed, name, 40, 0.5)
    assert resumed.record(name).state is TrialState.COMPLETE


def test_a_trial_killed_before_it_was_pruned_is_pruned_when_the_report_is_repeated(
    open_study, make_experiment, killed_at_tell
):
    experiment = make_experiment(first_rung=10, reduction_factor=2)
    study = open_study(experiment)
    best, middle, worst = (study.ask(32) for _ in range(3))
    for name, objective in ((best, 0.1), (worst, 9.0)):
        report(study, name, 10, objective)
    killed_at_tell(study, middle, 10, 0.2)

    resumed = open_study(experiment)
    assert not report(resumed, middle, 10, 0.2)
    assert resumed.record(middle).state is TrialState.PRUNED


def test_a_trial_that_passed_a_rung_is_not_judged_again(open_study, make_experiment):
    study = open_study(make_experiment(first_rung=10, reduction_factor=2))
    first, better = study.ask(32), study.ask(32)
    assert report(study, first, 10, 0.5)
    assert report(study, better, 10, 0.1)

    assert report(study, first, 10, 0.5)


def test_a_poor_trial_is_pruned_at_the_first_rung_and_not_before(open_study, make_experiment):
    study = open_study(make_experiment(first_rung=20, reduction_factor=2))
    good, poor = study.ask(32), study.ask(32)
    for step in (10, 20):
        assert report(study, good, step, 0.1)

    assert report(study, poor, 10, 9.0)
    assert not report(study, poor, 20, 9.0)
    assert study.record(poor).state is TrialState.PRUNED


def test_widths_are_not_compared_when_pruning(open_study, make_experiment):
    study = open_study(make_experiment(first_rung=10, reduction_factor=2))
    wide, narrow = study.ask(64), study.ask(32)
    report(study, wide, 10, 0.1)

    assert report(study, narrow, 10, 9.0)


def test_the_members_of_a_trial_make_one_result_and_are_kept(open_study, make_experiment):
    study = open_study(make_experiment(replicas=3, reduction="worst"))
    members = [{"val/objective": objective, "val/objective_stderr": 0.1} for objective in (2.0, 4.0, 3.0)]
    study.report(study.ask(32), 10, members)

    record = study.record("w32-0000")
    assert record.history == {10: members[1]}
    assert record.members == {10: tuple(members)}
    assert [trial.name for trial in study.members("w32-0000")] == ["w32-0000-r0", "w32-0000-r1", "w32-0000-r2"]


def test_a_trial_is_pruned_by_what_its_members_make_together(open_study, make_experiment):
    study = open_study(make_experiment(first_rung=10, reduction_factor=2, replicas=2))
    good, poor = study.ask(32), study.ask(32)

    assert study.report(good, 10, [{"val/objective": 9.0}, {"val/objective": 0.1}])
    assert not study.report(poor, 10, [{"val/objective": 0.0}, {"val/objective": 9.9}])


def test_a_trial_fails_by_the_name_of_the_member_that_did(open_study, make_experiment):
    study = open_study(make_experiment(folds=2))

    assert not study.report(study.ask(32), 10, [{"val/objective": 1.0}, {"val/objective": float("nan")}])
    assert study.record("w32-0000").failure_reason == "w32-0000-f1: the validation loss became nan at step 10"


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_fails_the_trial(open_study, loss):
    study = open_study()
    name = study.ask(32)

    assert not report(study, name, 10, loss)
    record = study.record(name)
    assert record.state is TrialState.FAILED
    assert record.failure_reason == f"the validation loss became {loss} at step 10"
    assert record.has_diverged


def test_a_failed_trial_keeps_its_traceback_and_counts_against_the_budget(open_study):
    study = open_study()
    study.fail(study.ask(32), "out of memory", "Traceback\n  line 7")

    assert study.record("w32-0000").failure == "out of memory\nTraceback\n  line 7"
    assert study.num_to_ask(32) == 5


def test_a_reopened_study_knows_its_unfinished_trials(open_study):
    study = open_study()
    for _ in range(3):
        study.ask(32)
    report(study, "w32-0000", 10, 1.0)
    finish(study, "w32-0001")

    assert open_study().unfinished(32) == ["w32-0000", "w32-0002"]


def test_a_width_that_is_added_leaves_the_others_as_they_are(open_study, make_experiment):
    study = open_study()
    finish(study, study.ask(32))
    before = study.records()

    grown = open_study(make_experiment(widths=(16, 32, 64)))
    assert grown.records() == before
    assert [grown.num_to_ask(width) for width in grown.widths] == [6, 5, 6]


def test_a_trial_killed_between_its_birth_and_its_values_gets_them(open_study):
    expected = open_study(name="whole")
    expected.ask(32)
    half = open_study(name="half")
    half._journal.studies[32].ask()

    assert searched(open_study(name="half"), 32) == searched(expected, 32)
