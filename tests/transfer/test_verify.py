"""How long the verification of a carried rate can take; a whole one is in test_run."""

import pytest

from raytag.search.lr_grid import wanted_rates
from raytag.transfer.verify import MOST_RATES, NUM_TRAININGS, SEEDS, _space


def num_rates(plan, objective):
    """Return how many rates are tried until no more are wanted."""
    space, finished = _space(plan).root["lr"], {}
    while wanted := wanted_rates(space, finished, (), MOST_RATES):
        finished |= {lr: objective(lr / plan.trial.hyperparameters.lr) for lr in wanted}
    return len(finished)


@pytest.mark.parametrize(
    ("objective", "expected"),
    [(lambda ratio: (ratio - 1) ** 2, NUM_TRAININGS[0]), (lambda ratio: ratio, NUM_TRAININGS[1])],
    ids=["the carried rate is the best", "the best rate is never reached"],
)
def test_the_fewest_and_the_most_trainings_are_those_of_the_rates_tried(plan, objective, expected):
    assert SEEDS * num_rates(plan, objective) == expected
