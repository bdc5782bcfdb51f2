import optuna
import pytest
from numpy.random import default_rng
from optuna.pruners import SuccessiveHalvingPruner
from optuna.trial import TrialState

from raytag.search.sampling import RungPruner


def ends(pruner, objectives):
    """Return the step at which each trial ends, when all take their steps in turn."""
    study = optuna.create_study(pruner=pruner)
    trials = [study.ask() for _ in objectives]
    last = {}
    for step in range(1, 28):
        for trial, objective in zip(trials, objectives, strict=True):
            if trial.number not in last:
                trial.report(objective[step], step)
                if trial.should_prune():
                    last[trial.number] = step
                    study.tell(trial, state=TrialState.PRUNED)
    return last


@pytest.mark.parametrize(("first_rung", "reduction_factor"), [(1, 2), (2, 3), (3, 4)])
def test_rungs_prune_as_optunas_successive_halving(make_experiment, first_rung, reduction_factor):
    objectives = default_rng(0).random((40, 28))
    search = make_experiment(first_rung=first_rung, reduction_factor=reduction_factor).search
    theirs = SuccessiveHalvingPruner(min_resource=first_rung, reduction_factor=reduction_factor)

    assert len(set(ends(theirs, objectives).values())) > 1
    assert ends(RungPruner(search), objectives) == ends(theirs, objectives)


def test_nothing_is_pruned_without_a_first_rung(make_experiment):
    assert ends(RungPruner(make_experiment(first_rung=None).search), default_rng(0).random((40, 28))) == {}
