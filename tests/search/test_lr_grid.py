import math
import random

import pytest

from raytag.config.space import LogUniform
from raytag.search.lr_grid import wanted_rates


def rates_between(low, high):
    return LogUniform(distribution="log_uniform", low=low, high=high, transfer="yes")


LOW = 1e-3
SPACE = rates_between(LOW, 1.6e-2)  # octaves 0 to 4
DIVERGED, BROKE_OFF = math.inf, math.nan


def octaves(rates):
    """Return rates as octaves above the low end."""
    return [round(2 * math.log2(rate / LOW)) / 2 for rate in rates]


def lr(octave):
    return LOW * 2.0**octave


def search(objective, limit=30, rng=None):
    """Run a search to its end and return objective by octave, in the order of finishing, which rng shuffles."""
    finished, pending = {}, []
    while wanted := [*pending, *wanted_rates(SPACE, finished, pending, limit)]:
        if rng:
            rng.shuffle(wanted)
        first, *pending = wanted
        finished[first] = objective(octaves([first])[0])
    return dict(zip(octaves(finished), finished.values(), strict=True))


def parabola(centre):
    return lambda octave: (octave - centre) ** 2


@pytest.mark.parametrize(
    ("low", "high", "grid"),
    [(1e-3, 1.6e-2, [1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2]), (1e-3, 1.5e-2, [1e-3, 2e-3, 4e-3, 8e-3]), (3e-3, 5e-3, [3e-3])],
)
def test_the_whole_grid_by_factors_of_two_is_wanted_at_once(low, high, grid):
    assert wanted_rates(rates_between(low, high), {}, [], limit=30) == pytest.approx(grid)


def test_a_rate_that_is_begun_is_not_wanted_again():
    finished, pending = {lr(0): 1.0}, [lr(1), lr(3)]

    assert octaves(wanted_rates(SPACE, finished, pending, limit=30)) == [2, 4]


def test_nothing_is_wanted_while_the_grid_is_unfinished():
    finished = {lr(octave): parabola(0)(octave) for octave in range(4)}

    assert wanted_rates(SPACE, finished, [lr(4)], limit=30) == []


def test_a_best_rate_inside_is_refined_by_half_octaves_and_that_is_all():
    assert list(search(parabola(2.1))) == [0, 1, 2, 3, 4, 1.5, 2.5]


def test_a_best_rate_that_moves_to_a_half_octave_gets_the_same_neighbours():
    assert list(search(parabola(2.3))) == [0, 1, 2, 3, 4, 1.5, 2.5, 3.5]


@pytest.mark.parametrize(
    ("centre", "extension"), [(4.1, [5]), (5.2, [5, 6]), (6.9, [5, 6, 7, 8]), (-0.1, [-1]), (-3.2, [-1, -2, -3, -4])]
)
def test_the_grid_is_extended_until_the_best_rate_is_inside(centre, extension):
    best = round(centre)

    assert list(search(parabola(centre))) == [0, 1, 2, 3, 4, *extension, best - 0.5, best + 0.5]


def test_rates_are_extended_one_at_a_time():
    finished = {lr(octave): parabola(9)(octave) for octave in range(5)}

    assert octaves(wanted_rates(SPACE, finished, [], limit=30)) == [5]
    assert wanted_rates(SPACE, finished, [lr(5)], limit=30) == []


def test_a_diverged_neighbour_is_a_neighbour():
    tried = search(lambda octave: parabola(9)(octave) if octave < 4 else DIVERGED)

    assert list(tried) == [0, 1, 2, 3, 4, 2.5, 3.5, 4.5]
    assert min(tried, key=tried.get) == 3.5


@pytest.mark.parametrize(
    ("best", "survives", "more"), [(1, lambda octave: octave < 2, -0.5), (3, lambda octave: octave > 2, 4.5)]
)
def test_where_an_octave_beside_the_best_rate_diverged_a_fifth_rate_is_tried_on_the_other_side(best, survives, more):
    tried = search(lambda octave: parabola(best)(octave) if survives(octave) else DIVERGED)

    assert list(tried) == [0, 1, 2, 3, 4, best - 0.5, best + 0.5, more]
    assert sum(map(math.isfinite, tried.values())) == 5


def test_where_rates_diverge_on_both_sides_there_is_no_fifth():
    assert list(search(lambda octave: 0.0 if octave == 1 else 1.0 if 0 < octave < 2 else DIVERGED))[5:] == [0.5, 1.5]


def test_a_diverged_rate_within_the_grid_ends_it_too():
    assert list(search(lambda octave: -octave if octave <= 1 else DIVERGED)) == [0, 1, 2, 3, 4, 0.5, 1.5]


@pytest.mark.parametrize(
    ("lost", "after"), [({4}, [5, 2.5, 3.5]), ({4, 5}, [5, 6, 2.5, 3.5]), ({2}, [2.5, 3.5]), ({2.5}, [2.5, 3.5])]
)
def test_a_rate_that_broke_off_is_not_tried_again_and_the_next_one_takes_its_place(lost, after):
    tried = search(lambda octave: BROKE_OFF if octave in lost else parabola(3.1)(octave))

    assert list(tried) == [0, 1, 2, 3, 4, *after]


def test_a_rate_that_broke_off_is_never_the_best_one():
    tried = search(lambda octave: BROKE_OFF if octave in {0, 1} else (octave - 2) ** 2)

    assert list(tried) == [0, 1, 2, 3, 4, -1, 1.5, 2.5]


def test_where_every_rate_broke_off_the_search_is_over():
    assert list(search(lambda _: BROKE_OFF)) == [0, 1, 2, 3, 4]


def test_rates_that_go_on_breaking_off_are_tried_up_to_the_limit():
    tried = search(lambda octave: BROKE_OFF if octave > 3 else -octave, limit=9)

    assert list(tried) == [0, 1, 2, 3, 4, 5, 6, 7, 8]


def test_where_every_rate_diverged_the_search_goes_down_until_one_does_not():
    tried = search(lambda octave: parabola(-3)(octave) if octave < -0.5 else DIVERGED)

    assert list(tried) == [0, 1, 2, 3, 4, -1, -2, -3, -4, -3.5, -2.5]


def test_a_plateau_goes_on_to_lower_rates_up_to_the_limit():
    assert list(search(lambda _: 1.0, limit=8)) == [0, 1, 2, 3, 4, -1, -2, -3]


def test_a_plateau_inside_is_refined_at_its_lower_end():
    assert list(search(lambda octave: 0.0 if 1 <= octave <= 3 else 1.0)) == [0, 1, 2, 3, 4, 0.5, 1.5]


def test_a_second_minimum_that_a_half_octave_finds_is_surrounded_too():
    objective = {2.0: 0.5, 1.5: 0.6, 2.5: 0.4, 3.5: 0.1}

    tried = search(lambda octave: objective.get(octave, 1.0))

    assert list(tried) == [0, 1, 2, 3, 4, 1.5, 2.5, 3.5, 4.5]


@pytest.mark.parametrize(("limit", "tried"), [(3, [0, 1, 2]), (5, [0, 1, 2, 3, 4]), (6, [0, 1, 2, 3, 4, 1.5])])
def test_the_limit_counts_every_rate(limit, tried):
    assert list(search(parabola(2.1), limit)) == tried


def test_a_raised_limit_goes_on_to_what_was_wanted_all_along():
    finished = {lr(octave): value for octave, value in search(parabola(2.1), limit=6).items()}

    assert octaves(wanted_rates(SPACE, finished, [], limit=30)) == [2.5]


@pytest.mark.parametrize("seed", range(20))
def test_the_rates_at_the_end_do_not_depend_on_the_order_in_which_trials_finish(seed):
    noise = random.Random(seed)
    objectives = {octave / 2: parabola(2.3)(octave / 2) + 3 * noise.random() for octave in range(-60, 60)}

    in_turn = search(objectives.__getitem__)
    assert all(search(objectives.__getitem__, rng=random.Random(other)) == in_turn for other in range(5))


@pytest.mark.parametrize("seed", range(20))
def test_the_best_rate_ends_with_two_neighbours_on_each_side(seed):
    noise = random.Random(seed)
    objectives = {octave / 2: parabola(2.3)(octave / 2) + 3 * noise.random() for octave in range(-60, 60)}

    tried = search(objectives.__getitem__)

    best = min(tried, key=tried.get)
    assert {best - 1, best - 0.5, best + 0.5, best + 1} <= tried.keys()


def test_rates_are_the_same_floats_whatever_the_grid_was_extended_to():
    tried = {LOW * 2.0 ** (index / 2): abs(index - 11) for index in range(-4, 16, 2)}

    assert set(wanted_rates(SPACE, tried, [], limit=30)) == {LOW * 2.0**4.5, LOW * 2.0**5.5}
