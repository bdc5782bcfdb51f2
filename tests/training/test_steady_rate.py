"""The rate at which SGD's gates train: the highest of the halves at which no seed's loss rises much."""

import math

from raytag.training.steady_rate import MAX_HALVINGS, steady_rate


def training(breaks_above, outcome=100.0):
    """Losses of a model that learns, but for one seed whose loss becomes ``outcome`` above a rate."""
    return lambda seed, lr: [2.0, 2.0 - lr, outcome if seed == 7 and lr > breaks_above else 2.0 - 2 * lr]


def test_what_the_model_bears_is_left_as_it_is():
    assert steady_rate(training(breaks_above=1.0), 0.1) == 0.1


def test_the_rate_is_halved_until_every_seed_bears_it():
    assert steady_rate(training(breaks_above=0.03), 0.1) == 0.025


def test_a_loss_that_is_no_number_is_not_borne():
    assert steady_rate(training(breaks_above=0.03, outcome=math.nan), 0.1) == 0.025


def test_a_batch_with_a_large_loss_of_its_own_is_no_reason():
    assert steady_rate(lambda _seed, _lr: [1.0, 5.0, 1.0], 0.1) == 0.1


def test_the_halving_ends_where_a_model_breaks_at_any_rate():
    assert steady_rate(lambda _seed, _lr: [math.nan], 1.0) == 2.0**-MAX_HALVINGS
