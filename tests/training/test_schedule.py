import math
import warnings
from typing import get_args

import pytest
import torch
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    LambdaLR,
    LinearLR,
    OneCycleLR,
    SequentialLR,
)

from raytag.config.experiment import Schedule, TrainingConfig
from raytag.config.hyperparameters import Hyperparameters
from raytag.training.schedule import pace_of_step

LR = 0.25
SCHEDULES = get_args(Schedule)


def torch_paces(make_scheduler, num_steps, beta1=0.9):
    """The lr factors and β1 that torch's scheduler sets for each step."""
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=LR, betas=(beta1, 0.999))
    scheduler = make_scheduler(optimizer)
    paces = []
    for _ in range(num_steps):
        group = optimizer.param_groups[0]
        paces.append((group["lr"] / LR, group["betas"][0]))
        optimizer.step()
        with warnings.catch_warnings():
            # SequentialLR passes the deprecated epoch argument to its own schedulers.
            warnings.filterwarnings("ignore", "The epoch parameter", UserWarning)
            scheduler.step()
    return paces


def our_paces(name, num_steps, num_cycles=1, **hyperparameters):
    training = TrainingConfig(schedule=name, num_steps=num_steps, evaluate_every=1, num_cycles=num_cycles)
    paces = [pace_of_step(training, step, Hyperparameters(**hyperparameters)) for step in range(num_steps)]
    return [(pace.lr_factor, pace.beta1) for pace in paces]


@pytest.mark.parametrize("warmup", [0.01, 0.1, 0.13, 0.3, 0.9])
def test_one_cycle_is_torchs_one_cycle_as_salt_calls_it(warmup):
    expected = torch_paces(
        lambda optimizer: OneCycleLR(
            optimizer,
            max_lr=LR,
            total_steps=201,
            pct_start=warmup,
            div_factor=5e-4 / 1e-7,
            final_div_factor=1e-7 / 1e-5,
            base_momentum=0.85,
            max_momentum=0.95,
        ),
        num_steps=201,
    )

    found = our_paces("one_cycle", 201, warmup_fraction=warmup)

    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("num_steps", "warmup"), [(10, 0.1), (10, 0.0), (3, 0.1), (1, 0.0), (1, 0.9)])
def test_one_cycle_starts_at_the_peak_where_the_warm_up_has_no_step_before_it(num_steps, warmup):
    assert our_paces("one_cycle", num_steps, warmup_fraction=warmup)[0] == pytest.approx((1.0, 0.85))


def test_one_cycle_swings_about_the_trials_own_beta1_and_stays_below_one():
    betas = [beta for _, beta in our_paces("one_cycle", 101, beta1=0.98, warmup_fraction=0.5)]

    assert max(betas) == pytest.approx(0.99, abs=1e-4)
    assert min(betas) == pytest.approx(0.97, abs=1e-4)
    assert all(0 <= beta < 1 for _, beta in our_paces("one_cycle", 20, beta1=0.0))


def after_linear_rise(num_warmup, make_scheduler):
    def chain(optimizer):
        rise = LinearLR(optimizer, start_factor=1 / num_warmup, total_iters=num_warmup - 1)
        return SequentialLR(optimizer, [rise, make_scheduler(optimizer)], [num_warmup])

    return chain


@pytest.mark.parametrize("num_warmup", [2, 10, 50])
def test_warmup_cosine_is_a_linear_rise_and_cosine_annealing(num_warmup):
    chain = after_linear_rise(num_warmup, lambda optimizer: CosineAnnealingLR(optimizer, 100 - num_warmup))
    expected = torch_paces(chain, num_steps=100)

    found = our_paces("warmup_cosine", 100, warmup_fraction=num_warmup / 100)

    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("num_warmup", "num_cycles"), [(10, 3), (4, 4), (40, 1), (50, 25)])
def test_cosine_restarts_are_a_linear_rise_and_warm_restarts(num_warmup, num_cycles):
    length = (100 - num_warmup) // num_cycles
    chain = after_linear_rise(num_warmup, lambda optimizer: CosineAnnealingWarmRestarts(optimizer, length))
    expected = torch_paces(chain, num_steps=100)

    found = our_paces("cosine_restarts", 100, num_cycles, warmup_fraction=num_warmup / 100)

    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("num_steps", [90, 91, 92])
def test_cycles_that_do_not_divide_the_steps_differ_by_one_step_at_most(num_steps):
    factors = [factor for factor, _ in our_paces("cosine_restarts", num_steps, 4, warmup_fraction=0.0)]

    starts = [step for step in range(num_steps) if step == 0 or factors[step] > factors[step - 1]]
    lengths = {end - start for start, end in zip(starts, [*starts[1:], num_steps], strict=True)}
    assert len(starts) == 4
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize(("num_warmup", "num_decay"), [(2, 20), (10, 50), (30, 70)])
def test_warmup_stable_decay_is_a_linear_rise_a_plateau_and_one_minus_the_square_root(num_warmup, num_decay):
    def after_rise(step):  # arXiv:2405.18392
        return 1 - math.sqrt(max(0, step - (100 - num_warmup - num_decay)) / num_decay)

    chain = after_linear_rise(num_warmup, lambda optimizer: LambdaLR(optimizer, after_rise))
    expected = torch_paces(chain, num_steps=100)

    found = our_paces("warmup_stable_decay", 100, warmup_fraction=num_warmup / 100, decay_fraction=num_decay / 100)

    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), rtol=1e-9, atol=1e-12)


def test_a_decay_longer_than_what_the_warm_up_leaves_begins_at_the_peak():
    factors = [f for f, _ in our_paces("warmup_stable_decay", 100, warmup_fraction=0.4, decay_fraction=0.9)]

    assert max(factors) == factors[39] == factors[40] == 1
    assert factors[40:] == sorted(factors[40:], reverse=True)
    assert factors[-1] == pytest.approx(1 - math.sqrt(59 / 60))


@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "one_cycle"])
def test_only_one_cycle_moves_the_momentum(name):
    assert {beta for _, beta in our_paces(name, 50, 2, beta1=0.8)} == {0.8}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.99])
@pytest.mark.parametrize("num_steps", [1, 2, 7, 100])
def test_every_step_of_every_schedule_trains(name, warmup, num_steps):
    factors = [factor for factor, _ in our_paces(name, num_steps, num_cycles=3, warmup_fraction=warmup)]

    assert all(0 < factor <= 1 for factor in factors)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_does_not_depend_on_the_learning_rate(name):
    assert our_paces(name, 20, lr=1e-4) == our_paces(name, 20, lr=1.0)
