"""The rule for depth on the real tagger: its gate, and copies of layers in a chain."""

from dataclasses import replace
from typing import get_args

import pytest
import torch

from raytag.config.experiment import MupConfig, Optimizer
from raytag.mup.coordinates import Slope
from raytag.mup.duplication import largest_deviation
from raytag.tagging.workload import TaggingWorkload
from raytag.training import depth_gate
from raytag.training.depth_gate import MATRICES, STREAM, check_depth
from raytag.training.gates import run_gates
from raytag.training.trial import RowState, Trial
from raytag.training.trial_group import TrialGroup

OPTIMIZERS = get_args(Optimizer)
NUM_STEPS = 10
# A decay that matters within ten steps, an epsilon that gradients feel, a clip that always acts.
SETTINGS = {"lr": 3e-3, "weight_decay": 0.1, "eps": 1e-5, "clip_norm": 0.1}
# In a chain of layers with branches of weight b, copies are exact but for terms of b². Measured at b = 1e-5: 3e-11 or
# less, 3e-13 at 1e-6; without one of the factors 5e-10 or more, and 5e-11.
TINY = 1e-5
LIMIT = 1e-10
# Muon leaves matrices of a norm below 1e-7 small, and such are the gradients in tiny branches.
CHAINED = ("adamw", "lion", "sgd")


@pytest.fixture(scope="module")
def experiment(tagger_experiment):
    def make(optimizer="adamw", num_layers=1, **hyperparameters):
        training = {"num_steps": NUM_STEPS, "batch_size": 8, "evaluate_every": NUM_STEPS, "precision": "float64"}
        return tagger_experiment(
            model={"num_layers": num_layers},
            mup={"base_num_layers": 1},
            training=training | {"optimizer": optimizer},
            hyperparameters=hyperparameters,
        )

    return make


def open_without_rule(experiment, device):
    return TaggingWorkload.open(experiment.model_copy(update={"mup": MupConfig()}), device)


def opening_with(change):
    """Open workloads whose rules for parameters in branches are changed."""

    class Changed(TaggingWorkload):
        def rule_table(self, width):
            table = super().rule_table(width)
            return replace(table, rules=tuple(change(r) if r.branch_weight != 1 else r for r in table))

    return Changed.open


def rates_of_a_flat_model(rule):
    return replace(rule, lr_factor=rule.lr_factor * rule.branch_weight)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_models_of_every_depth_move_alike(experiment, optimizer):
    verdict = check_depth(TaggingWorkload.open, experiment(optimizer))

    assert verdict.depths == [1, 2, 4]
    assert verdict.passed, verdict.change


def test_sgd_is_looked_at_with_the_default_hyperparameters(experiment):
    default, own = (
        check_depth(TaggingWorkload.open, experiment("sgd", **hyperparameters))
        for hyperparameters in ({}, {"alpha_output": 8.0, "init_scale": 4.0})
    )

    assert own.change == default.change
    assert own.passed


def test_sgd_trains_at_a_rate_that_the_base_depth_bears(experiment, monkeypatch):
    monkeypatch.setitem(depth_gate.OWN_SETTINGS["sgd"], "loss_weight_jet_classification", 1000.0)

    verdict = check_depth(TaggingWorkload.open, experiment("sgd"))

    assert verdict.passed, verdict.change
    assert verdict.to_dict()["lr"] == verdict.lr < depth_gate.OWN_SETTINGS["sgd"]["lr"]


def test_without_the_rule_the_stream_of_deep_models_moves_more(experiment):
    verdict = check_depth(open_without_rule, experiment())

    assert verdict.faults()[0][0] == f"{STREAM} (change)"
    assert verdict.change[STREAM].value > 1.5 * verdict.limit


def test_without_the_rate_of_sgd_the_layers_of_deep_models_stand_still(experiment):
    verdict = check_depth(opening_with(rates_of_a_flat_model), experiment("sgd"))

    assert verdict.faults()[0][0] == f"{MATRICES} (change)"
    assert verdict.change[MATRICES].value < -1.5 * verdict.limit


def test_the_depth_of_the_model_joins_those_compared(experiment):
    assert check_depth(TaggingWorkload.open, experiment("sgd", num_layers=3)).depths == [1, 2, 3, 4]


def test_the_gates_of_an_experiment_with_the_rule_include_depth(experiment):
    report = run_gates(TaggingWorkload.open, experiment("sgd"))
    change = {STREAM: Slope(0.8, 0.1), MATRICES: Slope(0.0, 0.1)}
    wrong = replace(report, depth=replace(report.depth, change=change))
    copies = replace(report.depth.copies, deviations={2: 1e-3})

    assert report.passed, "\n".join(report.lines())
    assert not wrong.passed
    assert [line.split()[:2] for line in wrong.lines()[1:5]] == [
        ["pass", "duplication"],
        ["pass", "coordinates"],
        ["pass", "branches"],
        ["FAIL", "depth"],
    ]
    assert wrong.lines()[5].split() == ["+0.80", "±", "0.10", "residual", "stream", "(change)"]
    assert "Widths are right, depths are not" in wrong.lines()[6]
    assert wrong.to_dict()["depth"]["largest"] == 0.8

    unlike = replace(report, depth=replace(report.depth, copies=copies))
    assert not unlike.passed
    assert unlike.lines()[3].split()[:2] == ["FAIL", "branches"]
    assert "Widths are right, depths are not" in unlike.lines()[5]
    assert unlike.to_dict()["depth"]["copies"]["largest"] == 1e-3


def chain(experiment, optimizer, num_layers, open_workload):
    """A group for a tagger of the base width whose branches weigh 2 TINY / layers, far below any real base depth."""
    whole = experiment(optimizer, num_layers)
    short = whole.model_copy(update={"mup": whole.mup.model_copy(update={"base_num_layers": 2 * TINY})})
    return TrialGroup(open_workload(short, torch.device("cpu")), short.mup.base_width, slots=1)


def first_state(group):
    """An untrained state, away from the zeros of its initialisation."""
    hyperparameters = group.workload.experiment.hyperparameters.model_copy(update=SETTINGS)
    group.start(0, Trial("chain", group.width, 0, hyperparameters))
    state = group.state(0)
    group.free(0)
    generator = torch.Generator().manual_seed(0)
    noise = {name: torch.randn(value.shape, generator=generator).double() for name, value in state.parameters.items()}
    return replace(state, parameters={name: value + 0.05 * noise[name] for name, value in state.parameters.items()})


def deepened(state, group, num_copies):
    """The state of a deeper tagger in which every layer is followed by its copies."""

    def original(name):
        parts = name.split(".")
        if name.startswith("encoder.layers."):
            parts[2] = str(int(parts[2]) // num_copies)
        return ".".join(parts)

    def copied(values):
        return {rule.name: values[original(rule.name)].clone() for rule in group.table}

    return RowState(state.trial, 0, copied(state.parameters), {n: copied(m) for n, m in state.moments.items()})


def losses(group, state):
    group.start(0, state.trial, state)
    return [group.step()[0].loss for _ in range(NUM_STEPS)]


def deviation(experiment, optimizer, open_workload=TaggingWorkload.open, num_copies=2):
    shallow = chain(experiment, optimizer, 2, TaggingWorkload.open)
    deep = chain(experiment, optimizer, 2 * num_copies, open_workload)
    state = first_state(shallow)
    return largest_deviation(losses(deep, deepened(state, deep, num_copies)), losses(shallow, state))


@pytest.mark.parametrize("optimizer", CHAINED)
def test_copies_of_every_layer_train_like_the_layer_to_first_order(experiment, optimizer):
    assert deviation(experiment, optimizer) < LIMIT


@pytest.mark.parametrize(
    ("optimizer", "factor", "change"),
    [
        ("adamw", "eps_factor", 2),
        ("adamw", "norm_factor", 1 / 2),
        ("lion", "lr_factor", 1 / 2),
        ("sgd", "lr_factor", 1 / 2),
        ("sgd", "norm_factor", 1 / 2),
    ],
)
def test_without_a_factor_of_the_depth_copies_of_layers_train_otherwise(experiment, optimizer, factor, change):
    broken = opening_with(lambda rule: replace(rule, **{factor: getattr(rule, factor) * change}))

    assert deviation(experiment, optimizer, broken) > 3 * LIMIT
