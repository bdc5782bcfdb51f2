"""A row's optimizer against `mup`'s own and against plain ones, and the norm it clips by."""

import math
from dataclasses import replace

import mup
import pytest
import torch
from mup_oracle import mu_adamw, oracle_losses
from row_states import same_bits

from raytag.config.hyperparameters import Hyperparameters
from raytag.mup.duplication import widen
from raytag.training import optimizer
from raytag.training.schedule import Pace
from raytag.training.trial import Trial

WIDTH, BASE, M = 128, 32, 4
HIDDEN = ("qkv.weight", "attend.weight", "feed.weight")


def mu_sgd(model, hyperparameters):
    """mup's own. Its decay passes through the momentum: equal to ours without decay, or without momentum."""
    return mup.MuSGD(
        model.parameters(),
        lr=hyperparameters.lr,
        momentum=hyperparameters.beta1,
        weight_decay=hyperparameters.weight_decay,
    )


class PlainLion:
    """Algorithm 2 of arXiv:2302.06675, parameter by parameter, with muP's rates for Adam."""

    def __init__(self, model, hyperparameters):
        self.model, self.hyperparameters = model, hyperparameters
        self.momenta = {name: torch.zeros_like(p) for name, p in model.named_parameters()}

    def zero_grad(self):
        self.model.zero_grad()

    @torch.no_grad()
    def step(self):
        h = self.hyperparameters
        for name, parameter in self.model.named_parameters():
            momentum, m = self.momenta[name], M if name in HIDDEN else 1
            update = torch.sign(h.beta1 * momentum + (1 - h.beta1) * parameter.grad)
            parameter.sub_(h.lr / m * (update + h.weight_decay * m * parameter))
            self.momenta[name] = h.beta2 * momentum + (1 - h.beta2) * parameter.grad


class PlainMuon:
    """Muon by singular value decomposition on hidden matrices, mup's AdamW on all else."""

    def __init__(self, model, hyperparameters):
        self.model, self.hyperparameters = model, hyperparameters
        self.hidden = {name: p for name, p in model.named_parameters() if name in HIDDEN}
        self.momenta = {name: torch.zeros_like(p) for name, p in self.hidden.items()}
        self.adamw = mu_adamw(model, hyperparameters, without=HIDDEN)

    def zero_grad(self):
        self.model.zero_grad()

    @torch.no_grad()
    def step(self):
        h = self.hyperparameters
        self.adamw.step()
        for name, matrix in self.hidden.items():
            momentum = self.momenta[name] = h.beta1 * self.momenta[name] + (1 - h.beta1) * matrix.grad
            nesterov = h.beta1 * momentum + (1 - h.beta1) * matrix.grad
            num_blocks = 3 if name.startswith("qkv") else 1
            update = torch.cat([newton_schulz_by_svd(block) for block in nesterov.chunk(num_blocks)])
            matrix.mul_(1 - h.lr * h.weight_decay).sub_(h.lr * 0.2 * BASE**0.5 * update)


def newton_schulz_by_svd(matrix):
    """What five steps of the iteration do to the singular values, which start divided by the matrix's norm."""
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    values = values / max(float(matrix.norm()), 1e-7)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return left @ torch.diag(values) @ right


@pytest.mark.parametrize(
    ("name", "make_oracle", "settings"),
    [
        ("adamw", mu_adamw, {"lr": 1e-2, "weight_decay": 0.1, "beta1": 0.8, "beta2": 0.95}),
        ("sgd", mu_sgd, {"lr": 3e-2, "weight_decay": 0.0, "beta1": 0.8}),
        ("sgd", mu_sgd, {"lr": 3e-2, "weight_decay": 0.1, "beta1": 0.0}),
        ("lion", PlainLion, {"lr": 3e-3, "weight_decay": 0.1, "beta1": 0.8, "beta2": 0.95}),
        ("muon", PlainMuon, {"lr": 1e-2, "weight_decay": 0.1, "beta1": 0.8, "beta2": 0.95}),
    ],
)
def test_a_row_trains_as_the_oracle_does(make_group, name, make_oracle, settings):
    trial = Trial("solo", WIDTH, 3, Hyperparameters(**settings))
    group = make_group(WIDTH, schedule="constant", optimizer=name)
    group.start(0, trial)

    losses = [group.step()[0].loss for _ in range(20)]

    assert losses == pytest.approx(oracle_losses(group.workload, trial, make_oracle, num_steps=20), rel=1e-9)
    assert min(losses) < losses[0]


@pytest.mark.parametrize("name", ["adamw", "lion", "muon", "sgd"])
def test_a_step_without_gradients_only_decays_by_the_trials_rate_and_decay(make_group, name):
    hyperparameters = Hyperparameters(lr=1e-2, weight_decay=0.5)
    group = make_group(WIDTH, optimizer=name)
    group.start(0, Trial("solo", WIDTH, 3, hyperparameters))
    row = group._storage.rows[0]
    before = row.parameters.clone()

    optimizer.update(row, group.layout, Pace(0.5, 0.9), hyperparameters)

    torch.testing.assert_close(row.parameters, before * (1 - 0.5 * 1e-2 * 0.5), rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", ["adamw", "lion", "muon", "sgd"])
def test_a_row_does_not_see_its_neighbours(make_group, name, precision):
    trials = [
        Trial("a", 32, 1, Hyperparameters(lr=1e-2, weight_decay=0.1, clip_norm=0.3)),
        Trial("b", 32, 2, Hyperparameters(lr=3e-3, beta1=0.5, beta2=0.9, dropout=0.1)),
        Trial("c", 32, 3, Hyperparameters(lr=1e-3, warmup_fraction=0.5, eps=1e-4)),
    ]
    together = make_group(slots=3, precision=precision, optimizer=name)
    for slot, trial in enumerate(trials):
        together.start(slot, trial)
    for _ in range(15):
        together.step()

    for slot, trial in enumerate(trials):
        alone = make_group(precision=precision, optimizer=name)
        alone.start(0, trial)
        for _ in range(15):
            alone.step()
        assert same_bits(together.state(slot), alone.state(0)), trial.name


@pytest.mark.parametrize("name", ["adamw", "lion", "muon", "sgd"])
def test_the_gaps_between_parameters_stay_zero(make_group, name):
    group = make_group(optimizer=name)
    group.start(0, Trial("t", 32, 1, Hyperparameters(weight_decay=0.1)))
    row = group._storage.rows[0]
    is_gap = torch.ones(group.layout.size, dtype=torch.bool)
    for parameter in group.layout.shapes:
        group.layout.view(is_gap, parameter).fill_(False)

    for _ in range(3):
        group.step()

    assert is_gap.any()
    assert all(not tensor[is_gap].any() for tensor in (row.parameters, *row.moments.values()))


def first_norm(group, state, slot=0):
    group.start(slot, replace(state.trial, width=group.width), state)
    return group.step()[slot].gradient_norm


@pytest.mark.parametrize("name", ["adamw", "lion", "muon", "sgd"])
def test_the_clip_norm_does_not_change_when_units_are_duplicated(make_group, name):
    narrow, wide = make_group(32, optimizer=name), make_group(128, optimizer=name)
    narrow.start(0, Trial("t", 32, 1, Hyperparameters(alpha_output=2.0)))
    state = narrow.state(0)
    narrow.free(0)
    state = replace(state, parameters={name: value + 0.1 for name, value in state.parameters.items()})
    parameters, zeros = (
        widen(values, narrow.table, wide.table) for values in (state.parameters, next(iter(state.moments.values())))
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
