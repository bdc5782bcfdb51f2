import numpy as np
import pytest

from raytag.report.differences import PairedDifference, paired_difference, with_error

rng = np.random.default_rng(1)


def test_paired_difference_is_that_of_the_weighted_means():
    narrow, wide, weights = rng.random((3, 200))

    difference = paired_difference(narrow, wide, weights)

    assert difference.mean == pytest.approx(np.average(wide, weights=weights) - np.average(narrow, weights=weights))


def test_what_both_models_share_does_not_blur_their_difference():
    shared, weights = 10 * rng.random(5000), np.ones(5000)
    change = 0.01 * rng.standard_normal(5000) - 0.02

    difference = paired_difference(shared, shared + change, weights)

    assert difference.mean == pytest.approx(-0.02, abs=5e-4)
    assert difference.stderr == pytest.approx(0.01 / np.sqrt(5000), rel=0.05)


def test_error_is_the_spread_over_many_samples():
    weights = 1 + rng.random(300)
    samples = [paired_difference(np.zeros(300), rng.standard_normal(300), weights) for _ in range(2000)]

    errors = np.mean([sample.stderr for sample in samples])
    assert errors == pytest.approx(np.std([sample.mean for sample in samples]), rel=0.05)


def test_equal_models_are_tied():
    same = paired_difference(np.ones(3), np.ones(3), np.ones(3))

    assert (same.significance, same.is_tied, str(same)) == (0.0, True, "+0.0000 ± 0.0000")


def test_two_standard_errors_are_a_verdict():
    assert PairedDifference(-0.019, 0.01).is_tied
    assert not PairedDifference(-0.021, 0.01).is_tied


@pytest.mark.parametrize(
    ("figure", "text"),
    [((0.51234, 0.0067), "0.5123 ± 0.0067"), ((512.3, 41.2), "512 ± 41"), ((0.1, 0.0999), "0.100 ± 0.100")],
)
def test_a_figure_ends_with_its_error_s_second_digit(figure, text):
    assert with_error(*figure) == text
