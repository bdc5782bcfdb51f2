"""Curves of trials, and the optima of curves whose true ones are known."""

import math

import numpy as np
import pytest
from lr_curves import curve_of, make_curve, make_curves, make_trial, records_of

from raytag.records import TrialState
from raytag.report.transfer_curves import curves_of, fit_optimum
from raytag.report.transfer_estimates import estimate_gap

# -- curves ---------------------------------------------------------------------------------------------------------


def test_curves_hold_a_row_per_seed_and_a_column_per_rate():
    curves = make_curves(-0.5)

    read = curves_of(records_of(curves)[::-1])

    for found, made in zip(read, curves, strict=True):
        assert found.width == made.width
        np.testing.assert_allclose(found.lrs, made.lrs)
        np.testing.assert_allclose(found.objectives, made.objectives)
        assert found.sweep_flops == made.sweep_flops


def test_a_diverged_trial_is_infinite_a_pruned_one_unknown_and_a_running_one_left_out():
    complete = make_trial(32, 0, 2**-8, [0.5, 0.6])
    diverged = make_trial(32, 1, 2**-6, [math.inf, math.inf], flops=3.0)
    pruned = make_trial(32, 2, 2**-10, [math.nan, math.nan])
    running = make_trial(32, 3, 2**-7, [0.1, 0.1], state=TrialState.RUNNING)

    (curve,) = curves_of([complete, diverged, pruned, running])

    np.testing.assert_equal(curve.objectives, [[math.nan, 0.5, math.inf], [math.nan, 0.6, math.inf]])
    assert curve.sweep_flops == 5.0  # what diverged has cost too
    assert curve.run_flops == 0.5  # one seed of the trial that ran to its end


def test_a_trial_that_broke_off_is_left_out_and_so_does_not_bound_the_others():
    complete = make_trial(32, 0, 2**-8, [0.5, 0.6])
    broke_off = make_trial(32, 1, 2**-6, [0.4, 0.4], state=TrialState.FAILED)

    (curve,) = curves_of([complete, broke_off])

    assert curve.lrs.tolist() == [2**-8]
    assert np.isnan(curve.losses_at(-5)).all()


def test_a_width_without_a_completed_trial_has_no_curve():
    assert curves_of([make_trial(32, 0, 2**-8, [math.inf])]) == []


# -- the loss between two rates -------------------------------------------------------------------------------------


def test_the_loss_between_two_rates_is_on_the_chord():
    assert curve_of([0.8, 0.4, 0.6]).losses_at(-7.75) == pytest.approx([0.45])


def test_a_pruned_rate_is_passed_over():
    assert curve_of([0.8, math.nan, 0.4]).losses_at(-8) == pytest.approx([0.6])


@pytest.mark.parametrize(("octave", "loss"), [(-7.6, 0.5), (-7.4, math.inf), (-7, math.inf), (-8, 0.5)])
def test_beside_a_rate_that_diverged_the_nearer_one_decides(octave, loss):
    assert curve_of([0.8, 0.5, math.inf]).losses_at(octave) == loss


def test_beyond_the_grid_nothing_is_known_unless_its_edge_diverged():
    curve = curve_of([0.8, 0.5, math.inf])

    assert np.isnan(curve.losses_at(-10)).all()
    assert np.isinf(curve.losses_at(-6)).all()


# -- the optimum ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("true", [-6.4, -6.0, -5.62])
def test_the_minimum_of_a_parabola_is_found_between_the_rates(true):
    optimum = fit_optimum(make_curve(32, true, lowest=0.7, seeds=2))

    assert optimum.log2_lr == pytest.approx(true, abs=1e-6)
    assert optimum.lr == pytest.approx(2**true)
    assert optimum.fallback is None


def test_only_the_five_lowest_points_count():
    losses = [(octave - 4) ** 2 for octave in range(9)]
    spoiled = [9e9, *losses[1:8], 9e9]

    assert fit_optimum(curve_of(spoiled)) == fit_optimum(curve_of(losses))


def test_the_minimum_stays_within_the_points_of_its_fit():
    falling = curve_of([1.0, 0.8, 0.61, 0.43, 0.26])  # its parabola turns far beyond the last rate

    optimum = fit_optimum(falling)

    assert optimum.log2_lr == pytest.approx(-5)
    assert optimum.fallback == "the minimum lies beyond the five lowest points"


@pytest.mark.parametrize(
    ("losses", "octave", "reason"),
    [
        ([0.6, 0.4, 0.5, math.inf, math.inf], -8, "only 3 of the 5 points of a parabola"),
        ([0.5, 0.9, 1.0, 0.9, 0.6], -9, "the five lowest points bend downwards"),
    ],
)
def test_where_no_parabola_fits_the_lowest_point_is_taken_and_the_reason_told(losses, octave, reason):
    optimum = fit_optimum(curve_of(losses))

    assert (optimum.log2_lr, optimum.fallback) == (octave, reason)


def test_a_minimum_at_a_rate_that_diverged_is_none():
    curve = make_curve(64, -6.4)
    curve.objectives[:, curve.log2_lrs == -6.5] = math.inf

    optimum = fit_optimum(curve)

    assert optimum.fallback == "the parabola's minimum is nearest to a rate that diverged"
    assert optimum.log2_lr == -6.0
    assert np.isfinite(curve.losses_at(optimum.log2_lr)).all()
    assert abs(estimate_gap(make_curve(32, -6.0), curve).value) < 0.01
