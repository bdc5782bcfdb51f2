"""What each sampler needs of the space, the budget and the scheduler."""

from pathlib import Path

import pytest

from raytag.config.load import load_experiment, load_space
from raytag.errors import ConfigError

GRID = "lr: {distribution: log_uniform, low: 1e-3, high: 1.6e-2, transfer: yes}\n"


@pytest.fixture
def load(folder):
    """Load the experiment with a sampler, a search space and overrides; return what is wrong with it."""

    def load_(sampler, space, *overrides):
        (folder / "space.yaml").write_text(space)
        try:
            load_experiment(Path("experiment.yaml"), [f"search.sampler={sampler}", *overrides])
        except ConfigError as error:
            return str(error).splitlines()
        return []

    return load_


def test_a_grid_of_learning_rates_needs_no_more_than_lr(load):
    assert load("lr_grid", GRID) == []


def test_a_grid_searches_the_learning_rate_alone(load):
    assert load("lr_grid", GRID + "beta1: {distribution: uniform, low: 0.8, high: 0.9, transfer: yes}\n") == [
        "space.yaml:2 beta1: no effect: search.sampler lr_grid searches the learning rate alone. Delete this entry."
    ]


def test_a_grid_is_logarithmic(load):
    assert load("lr_grid", "lr: {distribution: uniform, low: 1e-3, high: 1e-2, transfer: yes}\n") == [
        "space.yaml:1 lr: search.sampler lr_grid needs lr with distribution log_uniform."
    ]


def test_a_grid_fits_into_the_budget(load):
    assert load("lr_grid", GRID, "search.trials_per_width=5") == []
    assert load("lr_grid", GRID, "search.trials_per_width=4") == [
        "space.yaml:1 lr: 5 rates lie on the grid from 0.001 to 0.016, more than search.trials_per_width (4). "
        "Give at least 10: what follows the grid counts too."
    ]


@pytest.mark.parametrize("reduction", ["worst", "best_fraction"])
def test_a_grid_is_refined_around_the_optimum_that_is_reported(load, reduction):
    assert load("lr_grid", GRID, f"search.reduction={reduction}") == [
        f"override search.reduction={reduction}: search.sampler lr_grid needs mean, found {reduction}: the report fits "
        "the mean of the seeds, so another reduction would refine the grid elsewhere. Give mean."
    ]
    assert load("random", GRID, f"search.reduction={reduction}") == []


def test_fixed_draws_from_no_space(load):
    assert load("fixed", GRID, "search.space=null") == []
    assert load("fixed", GRID) == [
        "experiment.yaml:19 search.space: no effect: sampler fixed draws nothing. Delete it, or choose another sampler."
    ]


def test_other_samplers_need_a_space(load):
    assert load("tpe", GRID, "search.space=null") == [
        "override search.space=null: missing. Expected a path: YAML file of the search space."
    ]


@pytest.mark.parametrize("sampler", ["lr_grid", "fixed"])
def test_a_population_changes_values_and_needs_drawn_ones(load, sampler):
    overrides = [f"search.space={'null' if sampler == 'fixed' else 'space.yaml'}", "search.first_rung=null"]
    overrides += ["search.scheduler=pbt", "search.population=5"]

    assert load(sampler, GRID, *overrides) == [
        f"override search.sampler={sampler}: no effect: pbt changes values, {sampler} keeps them. Give random or tpe."
    ]


def test_a_search_without_a_space_searches_nothing():
    assert load_space(None).root == {}
