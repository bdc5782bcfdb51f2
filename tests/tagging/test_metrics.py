import math

import numpy as np
import pytest

from raytag.tagging.metrics import area_under_curve, b_discriminant, flavour_metrics, rejection, weighted_mean

FOUR = ("bjets", "cjets", "ujets", "taujets")


def test_discriminant_of_four_classes():
    score = b_discriminant(np.array([[0.5, 0.2, 0.2, 0.1]]), FOUR)

    assert score[0] == pytest.approx(math.log(0.5 / (0.2 * 0.2 + 0.05 * 0.1 + 0.75 * 0.2)))


@pytest.mark.parametrize(
    ("names", "probabilities", "background"),
    [
        (("bjets", "cjets", "ujets"), [0.5, 0.2, 0.3], 0.2 * 0.2 + 0.8 * 0.3),
        (("ujets", "bjets"), [0.5, 0.5], 0.5),
    ],
)
def test_fraction_of_a_missing_class_goes_to_the_light_jets(names, probabilities, background):
    score = b_discriminant(np.array([probabilities]), names)

    assert score[0] == pytest.approx(math.log(0.5 / background))


def test_discriminant_of_certain_jets_is_finite():
    assert np.isfinite(b_discriminant(np.eye(4), FOUR)).all()


@pytest.mark.parametrize(
    ("signal", "background", "area"),
    [
        ([2, 3], [0, 1], 1.0),
        ([0, 1], [2, 3], 0.0),
        ([1, 3], [0, 2], 0.75),
        ([1, 1], [1, 1], 0.5),
        ([1, 2], [1, 0], 3.5 / 4),
    ],
)
def test_area_under_curve(signal, background, area):
    assert area_under_curve(np.array(signal, float), np.array(background, float)) == area


def test_area_under_curve_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    signal, background = generator.normal(1, 1, 300).round(1), generator.normal(0, 1, 200).round(1)
    truth = np.repeat([1, 0], [300, 200])

    expected = metrics.roc_auc_score(truth, np.concatenate([signal, background]))

    assert area_under_curve(signal, background) == pytest.approx(expected, abs=1e-12)


def test_rejection_and_its_binomial_error():
    signal = np.arange(101.0)  # 70 % are above 30
    background = np.array([31.0] * 4 + [29.0] * 16)

    value, error = rejection(signal, background, 0.7)

    assert value == 5
    assert error == pytest.approx(5**2 * math.sqrt(0.2 * 0.8 / 20))


def test_rejection_of_everything_is_a_bound():
    value, error = rejection(np.ones(10), np.zeros(400), 0.7)

    assert value == 400
    assert error == pytest.approx(400, rel=0.01)


def test_undecided_tagger_rejects_nothing():
    assert rejection(np.zeros(10), np.zeros(10), 0.7) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("labels", "present"),
    [
        ([0, 1, 2, 3], {"light", "c"}),
        ([0, 2, 3], {"light"}),
        ([0, 1], {"c"}),
        ([1, 2, 3], set()),
    ],
)
def test_what_a_sample_cannot_give_is_left_out(labels, present):
    probabilities = np.random.default_rng(0).dirichlet(np.ones(4), len(labels))

    metrics = flavour_metrics(probabilities, np.array(labels), FOUR)

    assert set(metrics) == {
        key for name in present for key in (f"auc_b_vs_{name}", f"{name}_rejection_70", f"{name}_rejection_70_stderr")
    }
    assert all(math.isfinite(value) for value in metrics.values())


def test_file_without_tau_or_b_class():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), 30)
    labels = np.arange(30) % 3

    assert "auc_b_vs_c" in flavour_metrics(probabilities, labels, ("bjets", "cjets", "ujets"))
    assert flavour_metrics(probabilities, labels, ("cjets", "ujets", "taujets")) == {}


def test_weighted_mean_and_its_error():
    mean, error = weighted_mean(np.array([1.0, 3.0]), np.array([3.0, 1.0]))

    assert mean == 1.5
    assert error == pytest.approx(math.sqrt((3 * 0.5) ** 2 + (1 * 1.5) ** 2) / 4)


def test_error_of_the_mean_is_the_spread_of_repeated_means():
    generator = np.random.default_rng(0)
    weights = generator.uniform(0.5, 8, (2000, 50))
    values = generator.exponential(1, (2000, 50))

    means, errors = zip(*(weighted_mean(x, w) for x, w in zip(values, weights, strict=True)), strict=True)

    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.08)
