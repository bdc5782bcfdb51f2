"""The group's optimizer against `mup`'s own, and the norm it clips by."""

import math
from dataclasses import replace

import mup
import pytest
import torch
from toy_workload import ToyModel, ToyWorkload

from raytag.config.hyperparameters import Hyperparameters
from raytag.mup.duplication import widen
from raytag.mup.multipliers import initialise
from raytag.training import optimizer
from raytag.training.schedule import Pace
from raytag.training.trial import Trial

WIDTH, BASE = 128, 32


def mu_adamw_losses(table, hyperparameters, num_steps):
    """Train the toy alone with mup.MuAdamW, as its paper's users would."""
    with torch.device("meta"):
        base, delta = (ToyModel(width, BASE, "mup") for width in (BASE, 2 * BASE))
    model = ToyModel(WIDTH, BASE, "mup").double()
    mup.set_base_shapes(model, base, delta=delta, rescale_params=False, do_assert=False)
    model.set_hyperparameters(hyperparameters)
    initialise(model, table, seed=3, init_scale=1.0)
    eps = {rule.name: hyperparameters.eps * rule.eps_factor for rule in table}  # MuAdamW leaves eps alone
    oracle = mup.MuAdamW(
        [{"params": [parameter], "eps": eps[name]} for name, parameter in model.named_parameters()],
        lr=hyperparameters.lr,
        weight_decay=hyperparameters.weight_decay,
        betas=(hyperparameters.beta1, hyperparameters.beta2),
    )
    workload, losses = ToyWorkload(32, torch.float64), []
    for step in range(num_steps):
        oracle.zero_grad()
        loss = (model.loss_weights * workload.loss_terms(model, workload.train_batch(step)).losses).sum()
        loss.backward()
        oracle.step()
        losses.append(loss.item())
    return losses


def test_a_row_trains_as_mu_adamw_does(make_group):
    hyperparameters = Hyperparameters(lr=1e-2, weight_decay=0.1, beta1=0.8, beta2=0.95)
    group = make_group(WIDTH, schedule="constant")
    group.start(0, Trial("solo", WIDTH, 3, hyperparameters))

    losses = [group.step()[0].loss for _ in range(20)]

    assert losses == pytest.approx(mu_adamw_losses(group.table, hyperparameters, 20), rel=1e-9)
    assert min(losses) < losses[0]


def first_norm(group, state, slot=0):
    group.start(slot, replace(state.trial, width=group.width), state)
    return group.step()[slot].gradient_norm


def test_the_clip_norm_does_not_change_when_units_are_duplicated(make_group):
    narrow, wide = make_group(32), make_group(128)
    narrow.start(0, Trial("t", 32, 1, Hyperparameters(alpha_output=2.0)))
    state = narrow.state(0)
    narrow.free(0)
    state = replace(state, parameters={name: value + 0.1 for name, value in state.parameters.items()})
    parameters, zeros = (
        widen(values, narrow.table, wide.table) for values in (state.parameters, state.moments["exp_avg"])
    )
    widened = replace(state, parameters=parameters, moments=dict.fromkeys(state.moments, zeros))

    norms = first_norm(narrow, state), first_norm(wide, widened)

    assert norms[0] == pytest.approx(norms[1], rel=1e-12)


def test_a_row_is_clipped_to_the_norm_and_not_stretched(make_group):
    group = make_group()
    group.start(0, Trial("t", 32, 1, Hyperparameters()))
    group.step()
    row = group._storage.rows[0]
    norm = float(optimizer.gradient_norm(row, group.layout))

    optimizer.clip_gradients(row, norm, 2 * norm)
    assert float(optimizer.gradient_norm(row, group.layout)) == norm

    optimizer.clip_gradients(row, norm, norm / 4)
    assert float(optimizer.gradient_norm(row, group.layout)) == pytest.approx(norm / 4)


def test_at_the_base_width_the_clip_norm_is_torchs(make_group):
    group = make_group(32)
    group.start(0, Trial("t", 32, 1, Hyperparameters()))

    result = group.step()[0]

    gradients = [parameter.grad for parameter in group.model(0).parameters()]
    assert result.gradient_norm == pytest.approx(float(torch.nn.utils.get_total_norm(gradients)))


def test_rates_that_break_the_rule_table_are_caught(make_group):
    layout = make_group(128).layout
    assert len(layout.segments) == 3

    optimizer._check_ratios([1e-3 * segment.factors.lr for segment in layout.segments], layout)
    with pytest.raises(AssertionError):
        optimizer._check_ratios([1e-3] * 3, layout)


def test_the_schedule_scales_every_segments_update_alike(make_group):
    group = make_group(128)
    group.start(0, Trial("t", 128, 1, Hyperparameters(weight_decay=0.0, eps=1e-30)))
    for _ in range(2):  # at first only the readouts have gradients
        group.step()
    row, hyperparameters = group._storage.rows[0], Hyperparameters(weight_decay=0.0, eps=1e-30)
    moves = []
    for factor in (1.0, 0.5):
        for tensor in (*row.moments.values(), row.counts):
            tensor.zero_()
        before = row.parameters.clone()
        optimizer.update(row, group.layout, Pace(factor, 0.9), hyperparameters)
        moves.append([float(s.of(row.parameters - before).abs().max()) for s in group.layout.segments])

    whole, half = moves
    assert half == pytest.approx([move / 2 for move in whole])
    lr = hyperparameters.lr
    assert sorted(whole) == pytest.approx(sorted(lr * segment.factors.lr for segment in group.layout.segments))
    assert math.isclose(min(whole), lr / 4, rel_tol=1e-6)
