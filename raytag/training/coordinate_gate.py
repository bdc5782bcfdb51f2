"""The gate of coordinates: fresh models of several widths must start and move alike.

It sees what duplication cannot, the first values, and growth that follows from a wrong rate or multiplier. Sizes
scatter from seed to seed, most where a layer has few units, so seeds are added until every slope is decided
(:mod:`raytag.training.seed_rounds`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from raytag.config.experiment import Experiment, Optimizer
from raytag.config.hyperparameters import Hyperparameters
from raytag.mup.coordinates import GROWTH_ONLY, CoordinateSlopes, Slope, log_sizes, width_slope
from raytag.training.activations import module_outputs, root_mean_square
from raytag.training.gate_bench import OpenWorkload, bench_trial, cut_down, train_losses
from raytag.training.seed_rounds import Sizes, gather_sizes
from raytag.training.steady_rate import MOVES_BY_GRADIENTS, steady_rate
from raytag.training.trial_group import TrialGroup

__all__ = ["CoordinatesVerdict", "check_coordinates"]

# What scatters is the network, not the jets.
BATCH_SIZE = 8
# Width / base width → seeds of the first round. Narrow models scatter more and cost less.
NUM_SEEDS = {1: 40, 2: 12, 4: 6, 8: 12}
# Wider models would cost minutes and tell the same; two octaves are always spanned.
MAX_WIDTH = 256
# A target is checked all the same, with fewer seeds.
MAX_TARGET_WIDTH, NUM_TARGET_SEEDS = 1024, 3
MAX_SLOPE = 0.15
NUM_STEPS = 5
SETTINGS: dict[str, Any] = {"lr": 1e-3, "weight_decay": 0.0, "clip_norm": None, "dropout": 0.0}
# SGD moves by its gradients, not by the rate alone, and these depend on all hyperparameters, none of which has to do
# with the width. At an alpha_output of 4 and more the readouts break before much else has moved; at rates below that a
# few seeds of a hundred outweigh all others. So its rules are looked at with the defaults, at the highest rate, up to
# .1, that the base width bears. It leaves the zeros of readouts and queries slowly, and until then finite widths show:
# under muP slopes from base width 32 are .04 to .25, depending on the jets, with ten steps. Twenty are no better. A
# clip would hide the growth of gradients under the standard parametrisation.
OWN_MAX_SLOPE: Mapping[Optimizer, float] = {"sgd": 0.3}
OWN_NUM_STEPS: Mapping[Optimizer, int] = {"sgd": 10}
OWN_SETTINGS: Mapping[Optimizer, dict[str, Any]] = {"sgd": Hyperparameters().model_dump() | SETTINGS | {"lr": 0.1}}


@dataclass(frozen=True)
class CoordinatesVerdict:
    """Slopes against the width of the activations' initial sizes and of their changes in training.

    ``sizes`` are what the slopes were fitted to: by module, then "initial" or "change", the log2 of the size at each of
    ``widths``; a module is absent where there is nothing to measure. ``seeds`` are their number at each width, after
    ``num_rounds``; ``lr`` is the rate that all trained with.
    """

    slopes: CoordinateSlopes
    seeds: Mapping[int, int]
    num_rounds: int
    num_steps: int
    lr: float
    limit: float
    sizes: Mapping[str, Mapping[str, Sequence[float]]]

    @property
    def widths(self) -> list[int]:
        """The widths that were compared, ascending."""
        return list(self.seeds)

    @property
    def passed(self) -> bool:
        """Whether activations start and move alike at every width."""
        return self.slopes.steepest.deviation <= self.limit

    @property
    def breaks_at_base(self) -> bool:
        """Whether the training broke at the narrowest width too, which then is no matter of the width."""
        return any(not math.isfinite(size) for moments in self.sizes.values() for size, *_ in moments.values())

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists, strings and numbers."""
        return {
            "passed": self.passed,
            "limit": self.limit,
            "steepest": self.slopes.steepest.deviation,
            "widths": self.widths,
            "seeds": list(self.seeds.values()),
            "num_rounds": self.num_rounds,
            "num_steps": self.num_steps,
            "lr": self.lr,
            "breaks_at_base": self.breaks_at_base,
            "initial": {name: slope.value for name, slope in self.slopes.initial.items()},
            "initial_stderr": {name: slope.stderr for name, slope in self.slopes.initial.items()},
            "change": {name: slope.value for name, slope in self.slopes.change.items()},
            "change_stderr": {name: slope.stderr for name, slope in self.slopes.change.items()},
            "faults": [[name, slope.value] for name, slope in self.slopes.faults(self.limit)],
            "log2_sizes": {
                module: {moment: list(sizes) for moment, sizes in moments.items()}
                for module, moments in self.sizes.items()
            },
        }


def check_coordinates(
    open_workload: OpenWorkload, experiment: Experiment, target_width: int | None = None
) -> CoordinatesVerdict:
    """Train fresh models of several widths on a gate's bench and compare the sizes of their activations.

    Parameters
    ----------
    open_workload
        Opens the workload; called once, with a copy of the experiment that has small float64 batches.
    experiment
        The experiment to check.
    target_width
        Joins the widths unless it is beyond 1024.
    """
    optimizer, base_width = experiment.training.optimizer, experiment.mup.base_width
    limit, num_steps = OWN_MAX_SLOPE.get(optimizer, MAX_SLOPE), OWN_NUM_STEPS.get(optimizer, NUM_STEPS)
    settings = SETTINGS | OWN_SETTINGS.get(optimizer, {})
    workload = open_workload(cut_down(experiment, num_steps, BATCH_SIZE), torch.device("cpu"))
    seeds = _seeds(base_width, target_width)
    groups = {width: TrialGroup(workload, width, slots=1) for width in seeds}
    if optimizer in MOVES_BY_GRADIENTS:
        settings["lr"] = steady_rate(partial(_losses, groups[base_width], settings), settings["lr"])
    measures = {width: partial(_sizes, group, settings) for width, group in groups.items()}
    found = gather_sizes(measures, seeds, lambda sizes: _slopes(sizes).are_decided(limit))
    return CoordinatesVerdict(
        slopes=_slopes(found.sizes),
        seeds=found.seeds,
        num_rounds=found.num_rounds,
        num_steps=num_steps,
        lr=settings["lr"],
        limit=limit,
        sizes=_log_sizes(found.sizes),
    )


def _seeds(base_width: int, target_width: int | None) -> dict[int, int]:
    """Return the widths to compare, ascending, with their numbers of seeds in the first round."""
    seeds = {m * base_width: count for m, count in NUM_SEEDS.items() if m <= 4 or m * base_width <= MAX_WIDTH}
    if target_width is not None and base_width < target_width <= MAX_TARGET_WIDTH:
        seeds.setdefault(target_width, NUM_TARGET_SEEDS)
    return dict(sorted(seeds.items()))


def _slopes(by_width: Mapping[int, Sizes]) -> CoordinateSlopes:
    """Fit every module; what starts at zero may fade."""
    widths, initial, change = list(by_width), dict[str, Slope](), dict[str, Slope]()
    for module in by_width[widths[0]]:
        first, later = _moments(by_width, module)
        if (slope := width_slope(widths, first)) is not None:
            initial[module] = slope
        expected = (0.0, 0.0) if module in initial else GROWTH_ONLY
        if (slope := width_slope(widths, later, expected)) is not None:
            change[module] = slope
    return CoordinateSlopes(initial, change)


def _log_sizes(by_width: Mapping[int, Sizes]) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = {}
    for module in next(iter(by_width.values())):
        first, later = _moments(by_width, module)
        known = {"initial": log_sizes(first), "change": log_sizes(later)}
        found[module] = {moment: sizes.tolist() for moment, sizes in known.items() if sizes is not None}
    return found


def _moments(by_width: Mapping[int, Sizes], module: str) -> tuple[list[Tensor], list[Tensor]]:
    """Return a module's initial sizes at each width, (S, 1), and those of its changes, (S, T)."""
    sizes = [of_width[module] for of_width in by_width.values()]
    return [size[:, :1] for size in sizes], [size[:, 1:] for size in sizes]


def _losses(group: TrialGroup, settings: Mapping[str, Any], seed: int, lr: float) -> list[float]:
    return train_losses(group, bench_trial(group.workload, group.width, seed, {**settings, "lr": lr}))


def _sizes(group: TrialGroup, settings: Mapping[str, Any], seed: int) -> dict[str, list[float]]:
    """Train a seed's model; return the 1 + T sizes of each module's output.

    A size is a root mean square: first of the output itself, then of its change since the start, after each of T steps;
    NaN once the training has broken.
    """
    group.start(0, bench_trial(group.workload, group.width, seed, settings))
    first = module_outputs(group.workload, group.model(0))
    sizes = {module: [root_mean_square(output)] for module, output in first.items()}
    for _ in range(group.training.num_steps):
        group.step()
        is_broken = group.failure(0) is not None
        for module, output in module_outputs(group.workload, group.model(0)).items():
            sizes[module].append(math.nan if is_broken else root_mean_square(output - first[module]))
    group.free(0)
    return sizes
