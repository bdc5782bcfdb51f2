"""The gate of the rule for depth: whether deep models move like one of the base depth.

Its exact part, :mod:`raytag.training.branch_copies`, sees every factor. The part in here is statistical; it sees fresh
models, with their layers in a chain. Of the base width and of the base depth, twice and four times as deep, they train
for some steps through the groups, optimizer, schedule and batches that will train, in float64. With residual branches
of weight base depth / depth (CompleteP, arXiv:2505.01618) the matrices inside the branches change by as much at any
depth, which a wrong learning rate would spoil. The change of the residual stream is their weighted sum: it keeps where
the layers agree, and fades as the root of the depth where they do not. Without the weight it grows as the root of the
depth at least.

The first size of the stream is reported, not judged: first values never agree, so they fade, as they should. Where most
of the stream is such, gradients grow as it fades, because every layer divides by its size; SGD's steps with them, at
most as the root of the depth.

Readouts and queries would start at zero. Here they start at random, so that gradients flow everywhere from the first
step: from zeros the steps of SGD scatter tenfold between seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from raytag.config.experiment import Experiment, Optimizer
from raytag.config.hyperparameters import Hyperparameters
from raytag.mup.coordinates import Slope, are_decided, width_slope
from raytag.mup.multipliers import ParameterRule, RuleTable
from raytag.mup.roles import branch_layers
from raytag.training.activations import module_outputs, root_mean_square
from raytag.training.branch_copies import BranchCopies, check_branch_copies
from raytag.training.gate_bench import NUM_STEPS, OpenWorkload, bench_trial, cut_down, train_losses, with_depth
from raytag.training.seed_rounds import Sizes, gather_sizes
from raytag.training.steady_rate import MOVES_BY_GRADIENTS, steady_rate
from raytag.training.trial import RowState
from raytag.training.trial_group import TrialGroup

__all__ = ["DepthVerdict", "check_depth"]

# What scatters is the network, not the jets.
BATCH_SIZE = 8
# Of the first round.
NUM_SEEDS = 6
# Times the base depth. Deeper than 16 layers takes long and tells the same; an octave is always spanned.
DEPTHS = (1, 2, 4)
MAX_DEPTH = 16
# Measured with GN2 of base depths 1, 2 and 4 and every optimizer: slopes leave what is expected by .07 at most with the
# rule, by .51 at least without it, by .36 at least without SGD's rate.
MAX_DEVIATION = 0.3
SETTINGS: dict[str, Any] = {"lr": 5e-3, "weight_decay": 0.0, "clip_norm": None, "dropout": 0.0}
# SGD's steps are as large as its gradients, which depend on all hyperparameters: it is looked at with the defaults, at
# the highest rate, up to .05, that the base depth bears.
OWN_SETTINGS: Mapping[Optimizer, dict[str, Any]] = {
    "lion": {"lr": 2e-3},
    "sgd": Hyperparameters().model_dump() | SETTINGS | {"lr": 0.05},
}
STREAM, MATRICES = "residual stream", "matrices in branches"
# Lowest and highest slope that is right.
EXPECTED = {STREAM: (-0.5, 0.0), MATRICES: (0.0, 0.0)}
EXPECTED_OF_SGD = EXPECTED | {MATRICES: (0.0, 0.5)}


@dataclass(frozen=True)
class DepthVerdict:
    """What copies of branches showed, and slopes of log2 size against log2 depth.

    Attributes
    ----------
    copies
        Of every branch, side by side.
    change
        Of the change in training: of the residual stream, and of the matrices inside the branches.
    initial
        Of the stream's first size; falls under the rule, and is not judged.
    seeds
        The depths compared, and how many seeds of each.
    lr
        The rate that all trained with.
    limit
        How far slopes may leave what is expected.
    """

    copies: BranchCopies
    change: Mapping[str, Slope]
    initial: Slope
    seeds: Mapping[int, int]
    lr: float
    limit: float

    @property
    def depths(self) -> list[int]:
        """The depths that were compared, ascending."""
        return list(self.seeds)

    @property
    def passed(self) -> bool:
        """Whether models of every depth move alike."""
        return self.copies.passed and self.slopes_passed

    @property
    def slopes_passed(self) -> bool:
        """Whether all slopes are what is expected, within the limit."""
        return self.largest <= self.limit

    @property
    def largest(self) -> float:
        """How far any slope leaves what is expected of it."""
        return max(0.0, *(slope.deviation for slope in self.change.values()))

    def faults(self) -> list[tuple[str, Slope]]:
        """Return "name (change)" and its slope where it leaves the expected by more than the limit, worst first."""
        worst_first = sorted(self.change.items(), key=lambda item: -item[1].deviation)
        return [(f"{name} (change)", slope) for name, slope in worst_first if slope.deviation > self.limit]

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists, strings and numbers."""
        return {
            "passed": self.passed,
            "copies": self.copies.to_dict(),
            "limit": self.limit,
            "largest": self.largest,
            "depths": self.depths,
            "seeds": list(self.seeds.values()),
            "lr": self.lr,
            "initial": self.initial.value,
            "change": {name: slope.value for name, slope in self.change.items()},
            "change_stderr": {name: slope.stderr for name, slope in self.change.items()},
            "expected": {name: list(slope.expected) for name, slope in self.change.items()},
        }


def check_depth(open_workload: OpenWorkload, experiment: Experiment) -> DepthVerdict:
    """Compare models of several depths on a gate's bench.

    Parameters
    ----------
    open_workload
        Opens the workload; called once per depth, with a copy of the experiment that has small float64 batches.
    experiment
        The experiment to check; its ``mup.depth_base`` is the base depth.
    """
    base = experiment.mup.depth_base
    assert base is not None, "the experiment has no rule for depth"
    candidates = {*(factor * base for factor in DEPTHS), experiment.model.num_layers}
    depths = sorted(depth for depth in candidates if depth <= max(2 * base, MAX_DEPTH))
    optimizer = experiment.training.optimizer
    expected = EXPECTED_OF_SGD if optimizer == "sgd" else EXPECTED
    groups = {depth: _group(open_workload, experiment, depth) for depth in depths}
    settings = SETTINGS | OWN_SETTINGS.get(optimizer, {})
    if optimizer in MOVES_BY_GRADIENTS:
        settings["lr"] = steady_rate(partial(_losses, groups[base], settings), settings["lr"])
    measures = {depth: partial(_sizes, group, settings) for depth, group in groups.items()}

    def slopes(by_depth: Mapping[int, Sizes]) -> dict[str, Slope]:
        return {name: _slope(by_depth, name, slice(1, None), right) for name, right in expected.items()}

    found = gather_sizes(
        measures, dict.fromkeys(depths, NUM_SEEDS), lambda sizes: are_decided(slopes(sizes).values(), MAX_DEVIATION)
    )
    initial = _slope(found.sizes, STREAM, slice(1))
    return DepthVerdict(
        copies=check_branch_copies(open_workload, experiment),
        change=slopes(found.sizes),
        initial=initial,
        seeds=found.seeds,
        lr=settings["lr"],
        limit=MAX_DEVIATION,
    )


def _slope(
    by_depth: Mapping[int, Sizes], name: str, moments: slice, expected: tuple[float, float] = (0.0, 0.0)
) -> Slope:
    slope = width_slope(list(by_depth), [sizes[name][:, moments] for sizes in by_depth.values()], expected)
    assert slope is not None, "nothing moves"
    return slope


def _group(open_workload: OpenWorkload, experiment: Experiment, depth: int) -> TrialGroup:
    """Return a group for a model of another depth, on the cut-down experiment."""
    short = cut_down(with_depth(experiment, depth), batch_size=BATCH_SIZE)
    return TrialGroup(open_workload(short, torch.device("cpu")), experiment.mup.base_width, slots=1)


def _losses(group: TrialGroup, settings: Mapping[str, Any], seed: int, lr: float) -> list[float]:
    first = _first_state(group, {**settings, "lr": lr}, seed)
    return train_losses(group, first.trial, first)


def _sizes(group: TrialGroup, settings: Mapping[str, Any], seed: int) -> dict[str, list[float]]:
    """Train a seed's model; return the 1 + T sizes of stream and matrices.

    A size is a root mean square: first of the values themselves, then of their change since the start, after each of T
    steps; NaN once the training has broken.
    """
    state = _first_state(group, settings, seed)
    group.start(0, state.trial, state)
    first = _values(group)
    sizes = {name: [root_mean_square(values)] for name, values in first.items()}
    for _ in range(NUM_STEPS):
        group.step()
        is_broken = group.failure(0) is not None
        for name, values in _values(group).items():
            sizes[name].append(math.nan if is_broken else root_mean_square(values - first[name]))
    group.free(0)
    return sizes


def _first_state(group: TrialGroup, settings: Mapping[str, Any], seed: int) -> RowState:
    group.start(0, bench_trial(group.workload, group.width, seed, settings))
    state = _fill(group.state(0), group.table)
    group.free(0)
    return state


def _fill(state: RowState, table: RuleTable) -> RowState:
    """Draw what starts at zero in a matrix."""
    generator = torch.Generator().manual_seed(state.trial.seed)

    def filled(rule: ParameterRule) -> Tensor:
        values = state.parameters[rule.name].clone()
        num_rows = len(values) if rule.init_std == 0 else rule.num_zero_rows
        if num_rows and values.ndim == 2:
            values[:num_rows].normal_(std=rule.fan_in**-0.5, generator=generator)
        return values

    return replace(state, parameters={rule.name: filled(rule) for rule in table})


def _values(group: TrialGroup) -> dict[str, Tensor]:
    """Return the stream behind the last layer, and all matrices of the layers, each flat."""
    model = group.model(0)
    layers = branch_layers(model)
    matrices = [p.flatten() for layer in layers for p in model.get_submodule(layer).parameters() if p.ndim == 2]
    return {STREAM: module_outputs(group.workload, model)[layers[-1]], MATRICES: torch.cat(matrices).detach()}
