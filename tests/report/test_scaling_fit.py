import numpy as np
import pytest

from raytag.report.scaling_fit import EXPONENTS, ScalingLaw, bootstrap_laws, fit_law

SIZES, JETS = (grid.ravel() for grid in np.meshgrid([2e4, 8e4, 3e5, 1e6], [7e3, 14e3, 28e3, 56e3]))


@pytest.mark.parametrize(
    "law",
    [
        ScalingLaw(0.6, 20.0, 0.5, 15.0, 0.35),
        ScalingLaw(1.69, 406.4, 0.34, 410.7, 0.28),  # Hoffmann et al., their table of approach 3
        ScalingLaw(0.0, 3.0, 0.3, 4.0, 0.25),  # no limit: at the edge of what factors may be
        ScalingLaw(0.5, 1e4, 1.1, 8.0, 0.2),
    ],
)
def test_a_law_without_noise_is_found_whatever_its_exponents(law):
    losses = law.loss(SIZES, JETS)
    found = fit_law(SIZES, JETS, losses)

    assert found.size_exponent == pytest.approx(law.size_exponent, rel=0.01)
    assert found.data_exponent == pytest.approx(law.data_exponent, rel=0.01)
    assert found.limit == pytest.approx(law.limit, abs=2e-3 * losses.max())
    np.testing.assert_allclose(found.loss(SIZES, JETS), losses, rtol=1e-4)


def test_one_training_gone_wrong_moves_the_law_little():
    law = ScalingLaw(0.6, 20.0, 0.5, 15.0, 0.35)
    losses = law.loss(SIZES, JETS)
    losses[5] *= 1.3

    found = fit_law(SIZES, JETS, losses)

    assert found.size_exponent == pytest.approx(0.5, abs=0.02)
    assert found.data_exponent == pytest.approx(0.35, abs=0.02)


def test_a_training_counts_as_much_as_its_seeds_agree():
    law = ScalingLaw(0.6, 20.0, 0.5, 15.0, 0.35)
    losses, errors = law.loss(SIZES, JETS), np.full(16, 0.01)
    losses[0] *= 1.2

    alike = fit_law(SIZES, JETS, losses, errors)
    errors[0] = 0.2
    known = fit_law(SIZES, JETS, losses, errors)

    assert abs(known.size_exponent - 0.5) < 0.1 * abs(alike.size_exponent - 0.5)


def test_no_factor_is_negative_where_larger_models_are_worse():
    losses = 0.5 + 10 * JETS**-0.3 + 1e-7 * SIZES

    found = fit_law(SIZES, JETS, losses)

    assert found.size_factor == 0
    assert min(found.limit, found.data_factor) >= 0


def test_a_change_of_units_changes_the_factors_alone():
    losses = ScalingLaw(0.6, 20.0, 0.5, 15.0, 0.35).loss(SIZES, JETS) * (1 + 0.01 * np.sin(np.arange(len(SIZES))))

    first, second = fit_law(SIZES, JETS, losses), fit_law(SIZES / 1e6, JETS / 1e9, losses)

    assert second.size_exponent == pytest.approx(first.size_exponent, rel=1e-6)
    assert second.size_factor * 1e6**second.size_exponent == pytest.approx(first.size_factor, rel=1e-4)


def test_bootstrap_intervals_hold_the_truth_about_as_often_as_they_say():
    law, rng, held = ScalingLaw(0.6, 20.0, 0.5, 15.0, 0.35), np.random.default_rng(5), []
    for _ in range(6):
        seeds = [loss * (1 + 0.005 * rng.normal(size=3)) for loss in law.loss(SIZES, JETS)]
        draws = bootstrap_laws(SIZES, JETS, seeds, errors=np.full(16, 0.003), num_draws=30)
        low, high = np.percentile(draws, [2.5, 97.5], axis=0)
        held += [low[2] <= 0.5 <= high[2], low[4] <= 0.35 <= high[4]]

    assert sum(held) >= 9  # of 12; 95 % intervals from 30 draws


def test_draws_are_the_same_each_time_and_inside_the_searched_range():
    seeds = [np.array([loss, 1.01 * loss]) for loss in ScalingLaw(0.6, 20.0, 0.5, 15.0, 0.35).loss(SIZES, JETS)]

    first, second = (bootstrap_laws(SIZES, JETS, seeds, errors=np.full(16, 0.005), num_draws=5) for _ in range(2))

    np.testing.assert_array_equal(first, second)
    assert (first[:, [2, 4]] >= EXPONENTS[0]).all()
    assert (first[:, [2, 4]] <= EXPONENTS[1]).all()


def test_the_scatter_of_seeds_is_in_the_draws_even_if_their_means_lie_on_a_law():
    losses = ScalingLaw(0.6, 20.0, 0.5, 15.0, 0.35).loss(SIZES, JETS)

    equal, apart = (
        bootstrap_laws(
            SIZES, JETS, [loss * np.array([1 - off, 1 + off]) for loss in losses], errors=np.full(16, off), num_draws=8
        )
        for off in (0.0, 0.02)
    )

    assert equal[:, 2].std() < 0.01 < apart[:, 2].std()
