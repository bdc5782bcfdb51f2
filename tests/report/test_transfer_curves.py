"""Optima, drift and gap of curves whose true ones are known."""

import math

import numpy as np
import pytest
from lr_curves import make_curve, make_curves, make_trial, records_of

from raytag.records import TrialState
from raytag.report.transfer_curves import (
    LrCurve,
    bootstrap_optima,
    curves_of,
    estimate_drift,
    estimate_gain,
    estimate_gap,
    fit_optimum,
)

NUM_STUDIES = 200  # a share of 95 % then has a standard deviation of 1.5 %


def curve_of(objectives, *, first=-9, step=1.0, width=32):
    """A curve from its losses alone, on octaves from 2^first upwards."""
    losses = np.atleast_2d(np.array(objectives, dtype=float))
    lrs = 2.0 ** (first + step * np.arange(losses.shape[1]))
    return LrCurve(width, lrs, losses, np.ones(len(lrs)))


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

    assert fit_optimum(falling).log2_lr == pytest.approx(-5)


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


# -- drift ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("true", [0.0, 0.13, -1.07])
def test_the_drift_is_the_slope_of_the_optima_in_octaves_per_doubling(true):
    drift = estimate_drift(make_curves(true))

    assert drift.value == pytest.approx(true, abs=1e-6)
    assert drift.half_width == pytest.approx(0, abs=1e-6)


def test_the_interval_of_a_mean_is_that_of_students_t():
    rng = np.random.default_rng(3)
    curve = make_curve(
        32, -6.2, noise=1e-4, rng=rng
    )  # so little noise that the optimum is the mean of those of the seeds
    per_seed = [fit_optimum(curve, [seed]).log2_lr for seed in range(3)]

    (optimum,) = bootstrap_optima([curve])

    assert optimum.half_width == pytest.approx(4.3027 * np.std(per_seed, ddof=1) / math.sqrt(3), rel=0.05)


@pytest.mark.parametrize(("seeds", "noise"), [(2, 0.003), (3, 0.003), (3, 0.008)])
def test_the_interval_of_the_drift_covers_the_true_one_as_often_as_it_says(seeds, noise):
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(NUM_STUDIES):
        drift = estimate_drift(make_curves(-0.2, noise=noise, seeds=seeds, rng=rng))
        covered += drift.low <= -0.2 <= drift.high

    assert 0.91 <= covered / NUM_STUDIES <= 1.0


def test_seeds_that_differ_by_the_same_amount_at_every_rate_make_no_error():
    drift = estimate_drift(make_curves(0.1, noise=0.0, seeds=3))

    assert drift.half_width < 1e-6


def test_a_single_seed_has_no_interval():
    assert not estimate_drift(make_curves(0.1, seeds=1)).has_interval


def test_many_seeds_are_resampled_the_same_way_every_time():
    curves = make_curves(0.1, widths=(32, 64), seeds=8, noise=0.003)

    assert estimate_drift(curves) == estimate_drift(curves)


# -- the gap and the gain -------------------------------------------------------------------------------------------


def test_the_gap_is_the_loss_of_carrying_the_narrow_optimum():
    narrow = make_curve(32, -5.0, seeds=2)
    wide = make_curve(256, -7.0, lowest=0.8, seeds=2)

    gap = estimate_gap(narrow, wide)

    assert gap.value == pytest.approx(0.02 * 2**2 / 0.8, rel=0.05)


def test_a_carried_rate_that_diverges_makes_an_infinite_gap():
    narrow, wide = curve_of([[0.9, 0.5, 0.4, 0.3, 0.4]] * 3), curve_of([[0.4, 0.3, 0.4, math.inf, math.inf]] * 3)

    assert estimate_gap(narrow, wide).value == math.inf
    assert estimate_gain(narrow, wide).value == math.inf


def test_a_carried_rate_that_was_never_tried_makes_no_gap():
    narrow, wide = curve_of([0.9, 0.5, 0.4, 0.3, 0.4]), curve_of([0.9, 0.5, 0.4])

    assert math.isnan(estimate_gap(narrow, wide).value)


def test_choosing_and_measuring_on_other_seeds_keeps_noise_out_of_the_gap():
    """Two widths have the same shallow curve, so the gap is 0; a rate chosen for its luck looks better than it is."""
    rng = np.random.default_rng(11)
    fitted, plain = [], []
    for _ in range(NUM_STUDIES):
        narrow, wide = (make_curve(width, -6.0, noise=0.01, curvature=0.004, rng=rng) for width in (32, 256))
        fitted.append(estimate_gap(narrow, wide).value)
        at_carried, at_own = (wide.losses_at(fit_optimum(curve).log2_lr).mean() for curve in (narrow, wide))
        plain.append(at_carried / at_own - 1)
    errors = [np.std(values, ddof=1) / math.sqrt(NUM_STUDIES) for values in (fitted, plain)]

    assert abs(np.mean(fitted)) < 2.5 * errors[0]
    assert np.mean(plain) > 4 * errors[1]


def test_the_interval_of_the_gap_covers_what_carrying_costs():
    rng, covered = np.random.default_rng(7), 0
    for _ in range(NUM_STUDIES):
        narrow = make_curve(32, -6.0, noise=0.003, rng=rng)
        wide = make_curve(256, -8.0, noise=0.003, lowest=0.8, rng=rng)
        gap = estimate_gap(narrow, wide)
        covered += gap.low <= 0.02 * 2**2 / 0.8 <= gap.high

    assert covered / NUM_STUDIES >= 0.85


def test_the_gain_compares_both_widths_at_the_narrow_optimum():
    narrow, wide = make_curve(32, -6.0, lowest=0.9), make_curve(256, -7.0, lowest=0.8)

    gain = estimate_gain(narrow, wide)

    assert gain.value == pytest.approx(-0.1 + 0.02, abs=0.003)


def test_the_gap_of_a_single_seed_has_no_interval():
    assert not estimate_gap(make_curve(32, -6.0, seeds=1), make_curve(64, -6.0, seeds=1)).has_interval
