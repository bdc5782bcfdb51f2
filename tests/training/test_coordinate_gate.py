"""What the gate of coordinates must see: first values, and growth with the width."""

import math

import pytest
from broken_rules import no_readout_multiplier, with_model, with_rules
from toy_workload import ToyWorkload, toy_experiment

from raytag.mup.coordinates import GROWTH_ONLY
from raytag.training import coordinate_gate
from raytag.training.coordinate_gate import check_coordinates


def coordinates(open_workload=ToyWorkload.open, hyperparameters=None, **training):
    return check_coordinates(open_workload, toy_experiment(training=training, hyperparameters=hyperparameters or {}))


def test_coordinates_see_readouts_without_their_multiplier():
    verdict = coordinates(with_model(no_readout_multiplier))

    faults = dict(verdict.slopes.faults(verdict.limit))
    assert {"classify (change)", "regress (change)"} <= faults.keys()


def test_coordinates_see_hidden_rates_that_do_not_fall(monkeypatch):
    with_rules(monkeypatch, lr_factor=lambda _rule, _m: 1.0)

    assert not coordinates().passed


@pytest.mark.parametrize("weight", [10.0, 100.0])
def test_sgd_trains_at_a_rate_that_the_base_width_bears(weight):
    verdict = coordinates(hyperparameters={"loss_weight_track_origin": weight, "beta1": 0.99}, optimizer="sgd")

    assert verdict.passed, verdict.slopes.faults(verdict.limit)
    assert verdict.to_dict()["lr"] == verdict.lr < coordinate_gate.OWN_SETTINGS["sgd"]["lr"]


def test_scales_of_outputs_and_first_values_are_not_what_sgd_is_judged_by():
    assert coordinates(hyperparameters={"alpha_output": 8.0, "init_scale": 4.0}, optimizer="sgd") == coordinates(
        optimizer="sgd"
    )


@pytest.mark.parametrize(
    ("roles", "factor"),
    [
        (("hidden",), lambda m: m),
        (("hidden",), lambda m: 1 / m),
        (("readout",), lambda m: 1 / m),
        (("input", "vector"), lambda m: 1 / m),
    ],
    ids=["hidden × m", "hidden / m", "readout / m", "input / m"],
)
def test_at_that_rate_coordinates_see_a_wrong_factor_of_sgd(monkeypatch, roles, factor):
    with_rules(monkeypatch, lr_factor=lambda rule, m: rule.lr_factor * (factor(m) if rule.role in roles else 1.0))

    assert not coordinates(optimizer="sgd").passed


def test_a_model_that_breaks_is_infinitely_steep(monkeypatch):
    monkeypatch.setitem(coordinate_gate.SETTINGS, "lr", 1e200)

    verdict = coordinates()

    assert verdict.slopes.steepest.value == math.inf
    assert verdict.num_rounds == 1, "more seeds would not mend it"
    assert verdict.breaks_at_base


def test_a_model_that_breaks_where_it_is_wide_does_not_break_at_its_base(monkeypatch):
    monkeypatch.setitem(coordinate_gate.SETTINGS, "lr", 1e-3)
    with_rules(monkeypatch, lr_factor=lambda rule, m: rule.lr_factor * (1e200 if m > 2 else 1))

    verdict = coordinates()

    assert verdict.slopes.steepest.value == math.inf
    assert not verdict.breaks_at_base


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
