"""Drift, gap and gain of curves whose true ones are known."""

import math

import numpy as np
import pytest
from lr_curves import curve_of, make_curve, make_curves

from raytag.report.transfer_curves import fit_optimum
from raytag.report.transfer_estimates import bootstrap_optima, estimate_drift, estimate_gain, estimate_gap

NUM_STUDIES = 200  # a share of 95 % then has a standard deviation of 1.5 %


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


def test_an_optimum_that_is_one_of_the_rates_tried_has_no_interval():
    coarse = curve_of(np.add([[0.0], [0.01], [0.02]], [0.95, 0.9, 0.8, 0.95]))
    drift = estimate_drift([coarse, make_curve(64, -6.0, noise=0.003)])
    optima = bootstrap_optima([coarse, make_curve(64, -6.0, noise=0.003)])

    assert not drift.has_interval
    assert [optimum.has_interval for optimum in optima] == [False, True]


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
