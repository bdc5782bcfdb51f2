import math

import pytest
from trial_records import make_matrix, make_record

from raytag.records import Cost, Difference, are_tied, difference, spread


def test_costs_add_up():
    assert Cost(1e9, 2.0) + Cost(5e8, 1.0) == Cost(1.5e9, 3.0)


def test_a_trial_costs_what_its_last_report_says():
    history = {10: {"train_flops": 1e9, "seconds": 1.0}, 20: {"train_flops": 2e9, "seconds": 2.5}}

    assert make_record(history=history).cost == Cost(2e9, 2.5)


def test_the_size_of_a_model_is_unknown_where_nobody_recorded_it():
    assert make_record(history={10: {"num_parameters": 1234.0}}).num_parameters == 1234
    assert make_record(history={10: {"train_flops": 1e9}}).num_parameters is None
    assert make_record().num_parameters is None


def test_a_trial_without_a_report_cost_nothing_yet():
    assert make_record().cost == Cost()


def test_members_make_a_matrix_of_replicas_and_folds():
    six = make_matrix([1.0, 2.0, 3.0], [3.0, 4.0, 5.0])

    assert six.num_members == 6
    assert six.objectives == ((1.0, 2.0, 3.0), (3.0, 4.0, 5.0))
    assert six.fold_means == (2.0, 3.0, 4.0)


def test_a_trial_of_one_training_is_a_matrix_of_one():
    assert (make_matrix([0.5]).num_members, make_matrix([0.5]).objectives) == (1, ((0.5,),))
    assert make_record().num_members == 1


@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        ([[0.5, 0.6], [0.5, 0.6]], ("r0f0", "r0f1", "r1f0", "r1f1")),
        ([[0.5], [0.6]], ("r0", "r1")),
        ([[0.5, 0.6]], ("f0", "f1")),
        ([[0.5]], ("",)),
    ],
)
def test_members_are_called_by_what_there_are_several_of(rows, labels):
    assert make_matrix(*rows).member_labels == labels


def test_folds_are_paired_so_that_what_both_trials_feel_cancels():
    first = make_matrix([0.50, 0.90, 0.70], [0.52, 0.92, 0.72], stderr=0.1)
    second = make_matrix([0.54, 0.93, 0.75], [0.54, 0.95, 0.73], stderr=0.1)

    apart = difference(first, second)  # by fold: -0.03, -0.03, -0.03

    assert apart.mean == pytest.approx(-0.03)
    assert apart.stderr == pytest.approx(0, abs=1e-15)
    assert (apart.degrees, apart.basis) == (2, "folds")
    assert not are_tied(first, second)


def test_the_error_of_a_paired_difference_is_that_of_a_mean_over_folds():
    apart = difference(make_matrix([0.5, 0.6, 0.7]), make_matrix([0.4, 0.6, 0.5]))  # by fold: 0.1, 0, 0.2

    assert (apart.mean, apart.stderr) == (pytest.approx(0.1), pytest.approx(0.1 / math.sqrt(3)))


def test_replicas_of_the_same_seeds_are_paired_so_that_what_the_seed_does_to_both_cancels():
    first = make_matrix([0.5], [0.9], [0.7], stderr=0.1, has_paired_seeds=True)
    second = make_matrix([0.4], [0.9], [0.5], stderr=0.1, has_paired_seeds=True)

    apart = difference(first, second)  # by replica: 0.1, 0, 0.2

    assert (apart.mean, apart.stderr) == (pytest.approx(0.1), pytest.approx(0.1 / math.sqrt(3)))
    assert (apart.degrees, apart.basis) == (2, "seeds")


def test_folds_are_the_pairs_where_there_are_both():
    rows = [0.5, 0.6], [0.5, 0.7]

    assert difference(*(make_matrix(*rows, has_paired_seeds=True) for _ in range(2))).basis == "folds"


@pytest.mark.parametrize(
    ("rows", "others", "basis"),
    [
        ([[0.5], [0.6]], {"width": 64, "has_paired_seeds": True}, "members"),  # other weights, whatever the seed
        ([[0.5], [0.6]], {"has_paired_seeds": False}, "members"),
        ([[0.5], [0.6], [0.7]], {"has_paired_seeds": True}, "members"),
        ([[0.5], [0.6]], {"has_paired_seeds": True, "reduction": "best_fraction", "best_fraction": 1.0}, "members"),
    ],
)
def test_only_the_same_replicas_of_one_width_are_pairs(rows, others, basis):
    first = make_matrix([0.4], [0.7], has_paired_seeds=True)

    assert difference(first, make_matrix(*rows, **others)).basis == basis


def test_one_replica_each_makes_no_pair():
    assert difference(*(make_matrix([0.5], has_paired_seeds=True) for _ in range(2))).basis == "jets"


def test_replicas_without_folds_add_their_errors_with_welchs_degrees_of_freedom():
    first, second = make_matrix([0.5], [0.6], [0.7], stderr=0.03), make_matrix([0.4], [0.5], [0.6], stderr=0.04)

    apart = difference(first, second)

    assert (apart.mean, apart.stderr, apart.basis) == (pytest.approx(0.1), pytest.approx(0.05), "members")
    assert apart.degrees == pytest.approx(2 * (9 + 16) ** 2 / (9**2 + 16**2))


def test_objectives_that_are_no_means_have_no_pairs():
    def compare(reduction):
        rows = [0.5, 0.7, 0.7, 0.8], [0.4, 0.6, 0.8, 0.9]
        return difference(*(make_matrix(row, objective=row[-1], reduction=reduction) for row in rows))

    assert [compare(reduction).mean for reduction in ("worst", "best_fraction")] == [pytest.approx(-0.1)] * 2
    assert [compare(reduction).basis for reduction in ("worst", "best_fraction")] == ["jets", "members"]


@pytest.mark.parametrize(
    ("best_fraction", "degrees", "basis"), [(1.0, 6, "members"), (0.5, 2, "members"), (0.25, math.inf, "jets")]
)
def test_the_mean_of_the_best_has_the_degrees_of_freedom_of_these_alone(best_fraction, degrees, basis):
    rows = [[0.5], [0.6], [0.7], [0.8]]
    first, second = (make_matrix(*rows, reduction="best_fraction", best_fraction=best_fraction) for _ in range(2))

    apart = difference(first, second)

    assert (apart.degrees, apart.basis) == (pytest.approx(degrees), basis)


def test_single_trainings_are_told_apart_by_the_jets():
    apart = difference(make_matrix([0.5], stderr=0.03), make_matrix([0.4], stderr=0.04))

    assert (apart.stderr, apart.degrees, apart.basis) == (pytest.approx(0.05), math.inf, "jets")
    assert apart.noise == pytest.approx(0.05)


# 68.27 % two-sided, from any table of Student's t
@pytest.mark.parametrize(("degrees", "t"), [(1, 1.84), (2, 1.32), (3, 1.20), (5, 1.11), (10, 1.05), (math.inf, 1)])
def test_the_noise_of_few_members_is_wider_than_one_standard_error(degrees, t):
    assert Difference(0.0, 1.0, degrees).noise == pytest.approx(t, rel=0.015)


def test_few_folds_tie_what_many_jets_would_tell_apart():
    first, second = make_matrix([0.50, 0.60]), make_matrix([0.40, 0.56])  # 0.07 ± 0.03: 2.3 standard errors of 1 degree
    third = make_matrix([0.40, 0.57])  # 0.065 ± 0.035: 1.86
    fourth = make_matrix([0.40, 0.58])  # 0.06 ± 0.04: 1.5

    assert [are_tied(first, other) for other in (second, third, fourth)] == [False, False, True]


def test_a_trial_without_an_error_is_tied_with_nothing():
    assert not are_tied(make_matrix([0.5], stderr=math.nan), make_matrix([0.5], stderr=0.1))


def test_the_spread_separates_seeds_from_folds():
    seeds, folds = 0.01, (0.5, 0.6, 0.7)
    both = spread(make_matrix([fold - seeds for fold in folds], [fold + seeds for fold in folds]))

    assert both.seeds == pytest.approx(math.sqrt(2) * seeds)
    assert both.folds == pytest.approx(math.sqrt(0.01 - seeds**2))  # the folds' variance less the seeds' share in it


def test_folds_that_scatter_less_than_the_seeds_would_have_no_spread_of_their_own():
    assert spread(make_matrix([0.4, 0.6], [0.6, 0.4])).folds == 0


@pytest.mark.parametrize(
    ("rows", "seeds", "folds"),
    [([[0.5]], None, None), ([[0.5], [0.7]], 0.1 * math.sqrt(2), None), ([[0.5, 0.7]], None, 0.1 * math.sqrt(2))],
)
def test_a_spread_needs_two_of_a_kind(rows, seeds, folds):
    found = spread(make_matrix(*rows))

    assert (found.seeds, found.folds) == (seeds and pytest.approx(seeds), folds and pytest.approx(folds))
