"""What the gate of coordinates must see: first values, and growth with the width."""

import math

import pytest
from broken_rules import no_readout_multiplier, with_model, with_rules
from toy_workload import ToyWorkload, toy_experiment

from raytag.mup.coordinates import GROWTH_ONLY
from raytag.training import coordinate_gate
from raytag.training.coordinate_gate import check_coordinates


def coordinates(open_workload=ToyWorkload.open, **training):
    return check_coordinates(open_workload, toy_experiment(training=training))


def test_coordinates_see_readouts_without_their_multiplier():
    verdict = coordinates(with_model(no_readout_multiplier))

    faults = dict(verdict.slopes.faults(verdict.limit))
    assert {"classify (change)", "regress (change)"} <= faults.keys()


def test_coordinates_see_hidden_rates_that_do_not_fall(monkeypatch):
    with_rules(monkeypatch, lr_factor=lambda _rule, _m: 1.0)

    assert not coordinates().passed


def test_a_model_that_breaks_is_infinitely_steep(monkeypatch):
    monkeypatch.setitem(coordinate_gate.SETTINGS, "lr", 1e200)

    verdict = coordinates()

    assert verdict.slopes.steepest.value == math.inf
    assert verdict.num_rounds == 1, "more seeds would not mend it"


def test_sgd_is_looked_at_with_the_default_hyperparameters():
    default, own = (
        check_coordinates(
            ToyWorkload.open, toy_experiment(training={"optimizer": "sgd"}, hyperparameters=hyperparameters)
        )
        for hyperparameters in ({}, {"alpha_output": 8.0, "init_scale": 4.0})
    )

    assert own.sizes == default.sizes
    assert own.passed


def test_the_sizes_are_those_that_the_slopes_were_fitted_to():
    verdict = coordinates()

    assert {name for name, sizes in verdict.sizes.items() if "change" in sizes} == verdict.slopes.change.keys()
    assert all(len(sizes["initial"]) == len(verdict.widths) for sizes in verdict.sizes.values() if "initial" in sizes)


def test_what_starts_at_zero_is_judged_by_its_growth_alone():
    change = coordinates().slopes.change

    may_fade = {name for name, slope in change.items() if slope.expected == GROWTH_ONLY}
    assert may_fade == {"classify", "regress"}


FIRST_ROUND = {32: 40, 64: 12, 128: 6, 256: 12}


@pytest.mark.parametrize(
    ("target", "seeds"),
    [
        (None, FIRST_ROUND),
        (128, FIRST_ROUND),
        (96, FIRST_ROUND | {96: 3}),
        (1024, FIRST_ROUND | {1024: 3}),
        (2048, FIRST_ROUND),  # minutes
        (16, FIRST_ROUND),
    ],
)
def test_a_target_joins_the_widths_that_are_compared(target, seeds):
    assert list(coordinate_gate._seeds(32, target).items()) == sorted(seeds.items())
