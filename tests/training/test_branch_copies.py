"""The rule for depth on the real tagger, exactly: copies of every branch, side by side, train like the branch."""

from dataclasses import replace
from typing import get_args

import pytest
import torch

from raytag.config.experiment import Optimizer
from raytag.tagging.workload import TaggingWorkload
from raytag.training import branch_copies
from raytag.training.branch_copies import check_branch_copies, stand_side_by_side

OPTIMIZERS = get_args(Optimizer)
ROUNDING, SEEN = 1e-13, 1e-6


@pytest.fixture(scope="module")
def experiment(tagger_experiment):
    def make(optimizer="adamw", base_num_layers=1, **model):
        training = {"num_steps": 10, "batch_size": 64, "evaluate_every": 10, "optimizer": optimizer}
        return tagger_experiment(model=model, mup={"base_num_layers": base_num_layers}, training=training)

    return make


def opening_with(rule=lambda rule: rule, layer=lambda _layer: None):
    """Open workloads whose rules for parameters in branches, or whose layers, are changed."""

    class Changed(TaggingWorkload):
        def rule_table(self, width):
            table = super().rule_table(width)
            return replace(table, rules=tuple(rule(r) if r.branch_weight != 1 else r for r in table))

        def build_model(self, width):
            model = super().build_model(width)
            for each in model.encoder.layers:
                layer(each)
            return model

    return Changed.open


@pytest.mark.parametrize("base_num_layers", [1, 2])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_copies_of_every_branch_train_like_the_branch(experiment, optimizer, base_num_layers):
    """Measured: 4e-16 or less."""
    verdict = check_branch_copies(TaggingWorkload.open, experiment(optimizer, base_num_layers))

    assert list(verdict.deviations) == [2, 4]
    assert verdict.largest < ROUNDING


@pytest.mark.parametrize(
    ("optimizer", "factor", "change"),
    [
        ("adamw", "eps_factor", 2),
        ("muon", "eps_factor", 2),
        ("sgd", "lr_factor", 1 / 2),
        *((optimizer, "wd_factor", 2) for optimizer in OPTIMIZERS),
        *((optimizer, "norm_factor", 1 / 2) for optimizer in OPTIMIZERS if optimizer != "lion"),
    ],
)
def test_copies_see_a_factor_that_does_not_follow_the_depth(experiment, optimizer, factor, change):
    broken = opening_with(rule=lambda rule: replace(rule, **{factor: getattr(rule, factor) * change}))

    verdict = check_branch_copies(broken, experiment(optimizer))

    assert verdict.largest > SEEN
    assert not verdict.passed


def test_copies_see_branches_that_weigh_the_root_of_their_weight(experiment):
    def weigh_the_root(layer):
        layer.branch_weight = layer.branch_weight**0.5

    assert check_branch_copies(opening_with(layer=weigh_the_root), experiment()).largest > SEEN


def test_in_a_chain_copies_are_not_exact(experiment, monkeypatch):
    """What standing side by side is for."""
    monkeypatch.setattr(branch_copies, "stand_side_by_side", lambda _model: None)

    assert check_branch_copies(TaggingWorkload.open, experiment()).largest > SEEN


def test_side_by_side_no_layer_reads_what_another_adds(experiment):
    workload = TaggingWorkload.open(experiment(num_layers=3), torch.device("cpu"))
    model = workload.build_model(32)
    stand_side_by_side(model)
    read = []
    for layer in model.encoder.layers:
        for norm in (layer.attention_norm, layer.feed_norm):
            norm.register_forward_hook(lambda _norm, inputs, _output: read.append(inputs[0]))

    workload.loss_terms(model, workload.train_batch(0))

    assert len(read) == 6
    assert all(torch.equal(tokens, read[0]) for tokens in read)
