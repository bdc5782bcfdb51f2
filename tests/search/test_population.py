"""Who copies whom in population-based training, and what a copy changes."""

import pytest

from raytag.config.hyperparameters import Hyperparameters
from raytag.config.space import SearchSpace
from raytag.records import Move
from raytag.search.population import evolve

SPACE = SearchSpace.model_validate(
    {
        "lr": {"distribution": "log_uniform", "low": 1e-3, "high": 1e-2, "transfer": "yes"},
        "init_scale": {"distribution": "uniform", "low": 0.5, "high": 2, "transfer": "yes"},
        "alpha_output": {"distribution": "categorical", "choices": [1, 2, 4], "transfer": "yes"},
    }
)


def population(size, **settings):
    """Objectives that rise with the number, each trial with its own learning rate."""
    names = [f"w32-{number:04d}" for number in range(size)]
    objectives = {name: float(number) for number, name in enumerate(names)}
    return objectives, {
        name: Hyperparameters(**{"lr": 2e-3 + 1e-4 * number, "alpha_output": 2.0} | settings)
        for number, name in enumerate(names)
    }


def test_the_worst_fifth_copies_the_best_fifth():
    objectives, hyperparameters = population(10)

    moves = [evolve(objectives, hyperparameters, SPACE, seed) for seed in range(20)]

    assert all(move.keys() == {"w32-0008", "w32-0009"} for move in moves)
    assert {move.source for generation in moves for move in generation.values()} == {"w32-0000", "w32-0001"}


def test_searched_values_move_by_a_fifth_and_the_others_are_the_sources():
    objectives, hyperparameters = population(4, init_scale=1.5, beta2=0.99)

    seen = set()
    for seed in range(20):
        ((loser, move),) = evolve(objectives, hyperparameters, SPACE, seed).items()
        assert (loser, move.source) == ("w32-0003", "w32-0000")
        assert (move.hyperparameters.init_scale, move.hyperparameters.beta2) == (1.5, 0.99)
        seen.add((round(move.hyperparameters.lr / 2e-3, 9), move.hyperparameters.alpha_output))

    assert seen == {(0.8, 1.0), (0.8, 4.0), (1.2, 1.0), (1.2, 4.0)}


@pytest.mark.parametrize(("lr", "end"), [(1e-3, 1e-3), (1e-2, 1e-2)])
def test_a_value_stays_inside_its_range(lr, end):
    objectives, hyperparameters = population(4)
    hyperparameters["w32-0000"] = Hyperparameters(lr=lr, alpha_output=4.0)

    moves = [evolve(objectives, hyperparameters, SPACE, seed)["w32-0003"] for seed in range(20)]

    assert end in {move.hyperparameters.lr for move in moves}
    assert all(1e-3 <= move.hyperparameters.lr <= 1e-2 for move in moves)
    assert all(move.hyperparameters.alpha_output in (2.0, 4.0) for move in moves)


def test_the_same_seed_decides_the_same_whatever_the_order():
    objectives, hyperparameters = population(6)
    backwards = dict(reversed(objectives.items()))

    assert evolve(objectives, hyperparameters, SPACE, 3) == evolve(backwards, hyperparameters, SPACE, 3)
    assert len({str(evolve(objectives, hyperparameters, SPACE, seed)) for seed in range(20)}) > 1


def test_one_trial_alone_copies_nobody():
    assert evolve({"w32-0000": 1.0}, {"w32-0000": Hyperparameters()}, SPACE, 1) == {}


def test_a_move_survives_the_study():
    move = Move("w32-0001", Hyperparameters(lr=3e-3, clip_norm=1.0))

    assert Move.from_dict(move.to_dict()) == move
