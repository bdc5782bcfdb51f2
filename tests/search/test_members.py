import math
from dataclasses import replace

import pytest

from raytag.config.hyperparameters import Hyperparameters
from raytag.records import TrialRecord, TrialState
from raytag.search.members import members_of, reduce_metrics

RECORD = TrialRecord("w32-0007", 32, 7, 5, TrialState.RUNNING, {}, Hyperparameters(lr=0.01), {})


@pytest.fixture
def search(make_experiment):
    """Return a search section with these settings."""
    return lambda **settings: make_experiment(**settings).search


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, ["w32-0007"]),
        ({"replicas": 2}, ["w32-0007-r0", "w32-0007-r1"]),
        ({"folds": 2}, ["w32-0007-f0", "w32-0007-f1"]),
        ({"replicas": 2, "folds": 2}, ["w32-0007-r0f0", "w32-0007-r0f1", "w32-0007-r1f0", "w32-0007-r1f1"]),
    ],
)
def test_members_are_named_by_what_there_are_several_of(search, settings, names):
    assert [member.name for member in members_of(RECORD, search(**settings))] == names


def test_every_member_has_a_seed_of_its_own(search):
    members = members_of(RECORD, search(replicas=2, folds=2))

    assert [member.fold for member in members] == [0, 1, 0, 1]
    assert len({member.seed for member in members}) == 4


def test_the_first_replica_is_the_trial_without_replicas(search):
    (alone,) = members_of(RECORD, search())
    first, second = members_of(RECORD, search(replicas=2))

    assert replace(first, name=alone.name) == alone
    assert alone.fold is None
    assert second.seed not in {members_of(replace(RECORD, number=n), search())[0].seed for n in range(1000)}


def metrics(objective, stderr=0.1, **others):
    return {"val/objective": objective, "val/objective_stderr": stderr, **others}


def test_the_metrics_of_one_member_are_those_of_its_trial(search):
    assert reduce_metrics([metrics(1.5, seconds=3.0)], search(reduction="worst")) == metrics(1.5, seconds=3.0)


@pytest.mark.parametrize(
    ("settings", "objective", "stderr"),
    [
        ({}, 2.5, math.sqrt(5 / 3) / 2),  # of 1, 2, 3, 4
        ({"reduction": "worst"}, 4.0, 0.4),
        ({"reduction": "best_fraction"}, 1.5, math.sqrt(1 / 2) / math.sqrt(2)),
        ({"reduction": "best_fraction", "best_fraction": 0.8}, 2.0, 1 / math.sqrt(3)),
        ({"reduction": "best_fraction", "best_fraction": 0.1}, 1.0, 0.1),
    ],
)
def test_the_objective_is_the_chosen_reduction_with_the_error_of_the_members_taken(search, settings, objective, stderr):
    members = [metrics(3.0, 0.3), metrics(1.0, 0.1), metrics(4.0, 0.4), metrics(2.0, 0.2)]

    assert reduce_metrics(members, search(**settings)) == pytest.approx(metrics(objective, stderr))


def test_a_share_of_the_members_is_not_rounded_down_below_itself(search):
    members = [metrics(float(n)) for n in range(100)]

    reduced = reduce_metrics(members, search(reduction="best_fraction", best_fraction=0.29))  # 0.29 * 100 < 29
    assert reduced["val/objective"] == 14.0


def test_costs_add_up_and_other_metrics_are_averaged_over_all_members(search):
    members = [metrics(value, seconds=value, train_flops=10.0, **{"val/auc": value}) for value in (1.0, 2.0, 6.0)]
    reduced = reduce_metrics(members, search(reduction="best_fraction"))

    assert (reduced["seconds"], reduced["train_flops"], reduced["val/auc"]) == (9.0, 30.0, 3.0)
