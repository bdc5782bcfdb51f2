"""The gate of duplication: a model and copies of it with every unit doubled and quadrupled must train alike.

In float64 their losses agree to rounding. The gate sees every factor of the optimizer, the attention scale and the
readout multiplier. It cannot see first values, since both start from the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, get_args

import torch

from raytag.config.experiment import Experiment, Optimizer, Schedule
from raytag.mup.duplication import largest_deviation, widen
from raytag.training.culprits import find_culprits
from raytag.training.gate_bench import OpenWorkload, bench_trial, open_bench, train_losses
from raytag.training.trial import RowState
from raytag.training.trial_group import TrialGroup
from raytag.training.workload import Workload

__all__ = ["EVERY_COMBINATION", "Combination", "DuplicationRun", "DuplicationVerdict", "check_duplication"]

Combination = tuple[Optimizer, Schedule]
#: Whatever an experiment file can choose.
EVERY_COMBINATION: tuple[Combination, ...] = tuple(product(get_args(Optimizer), get_args(Schedule)))

COPIES = (2, 4)
NUM_STEPS = 8
MAX_DEVIATION = 1e-9
# A decay that matters within eight steps, an epsilon that gradients feel, a clip that always acts.
SETTINGS = {"lr": 3e-3, "weight_decay": 0.1, "eps": 1e-5, "clip_norm": 0.1, "dropout": 0.0}
# Readouts and queries start at zero, where some factors act on nothing.
PERTURBATION = 0.05


@dataclass(frozen=True)
class DuplicationRun:
    """One optimizer under one schedule.

    ``deviations`` are the largest relative differences of the losses, by number of copies; ``culprits`` say where a
    difference begins (:func:`raytag.training.culprits.find_culprits`), and are empty where there is none.
    """

    optimizer: Optimizer
    schedule: Schedule
    deviations: Mapping[int, float]
    culprits: Sequence[tuple[str, float]] = ()

    @property
    def largest(self) -> float:
        """The largest deviation of all copies."""
        return max(self.deviations.values())

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists, strings and numbers."""
        return {
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "largest": self.largest,
            "deviations": {str(k): deviation for k, deviation in self.deviations.items()},
            "culprits": [list(culprit) for culprit in self.culprits],
        }


@dataclass(frozen=True)
class DuplicationVerdict:
    """What was found with one or more combinations of an optimizer and a schedule."""

    runs: Sequence[DuplicationRun]
    num_steps: int
    limit: float

    @property
    def passed(self) -> bool:
        """Whether every copy trained like the original."""
        return self.largest <= self.limit

    @property
    def largest(self) -> float:
        """The largest deviation of all runs."""
        return self.worst.largest

    @property
    def worst(self) -> DuplicationRun:
        """The run with the largest deviation."""
        return max(self.runs, key=lambda run: run.largest)

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists, strings and numbers."""
        return {
            "passed": self.passed,
            "limit": self.limit,
            "largest": self.largest,
            "num_steps": self.num_steps,
            "runs": [run.to_dict() for run in self.runs],
        }


def check_duplication(
    open_workload: OpenWorkload,
    experiment: Experiment,
    combinations: Sequence[Combination] = (),
    tell: Callable[[str], None] = lambda _: None,
) -> DuplicationVerdict:
    """Train a model of the base width and its widened copies from one starting point, on a gate's bench.

    Parameters
    ----------
    open_workload
        Opens the workload; called once for each combination.
    experiment
        The experiment to check.
    combinations
        Optimizers and schedules to train with; the experiment's own if empty.
    tell
        Is told of each combination before it trains.
    """
    training = experiment.training
    combinations = combinations or [(training.optimizer, training.schedule)]
    runs = []
    for number, (optimizer, schedule) in enumerate(combinations, start=1):
        tell(f"{optimizer}, {schedule} ({number} of {len(combinations)})")
        chosen = training.model_copy(update={"optimizer": optimizer, "schedule": schedule})
        runs.append(_run(open_bench(open_workload, experiment.model_copy(update={"training": chosen}), NUM_STEPS)))
    return DuplicationVerdict(runs, NUM_STEPS, MAX_DEVIATION)


def _run(workload: Workload[Any]) -> DuplicationRun:
    training, base_width = workload.experiment.training, workload.experiment.mup.base_width
    narrow = TrialGroup(workload, base_width, slots=1)
    first = starting_point(narrow)
    losses = train_losses(narrow, first.trial, first)
    deviations: dict[int, float] = {}
    culprits: list[tuple[str, float]] = []
    for k in COPIES:
        wide = TrialGroup(workload, k * base_width, slots=1)
        widened = widen_state(first, narrow, wide)
        deviations[k] = largest_deviation(train_losses(wide, widened.trial, widened), losses)
        if deviations[k] > MAX_DEVIATION and not culprits:
            culprits = find_culprits(narrow, first, wide, widened)
    return DuplicationRun(training.optimizer, training.schedule, deviations, culprits)


def starting_point(group: TrialGroup) -> RowState:
    """Return the untrained state that a group's model and all copies of it start from."""
    group.start(0, bench_trial(group.workload, group.width, seed=0, settings=SETTINGS))
    state = perturb(group.state(0))
    group.free(0)
    return state


def perturb(state: RowState) -> RowState:
    """Push every parameter off its initial value."""
    generator = torch.Generator().manual_seed(0)
    noise = {
        name: torch.randn(value.shape, generator=generator, dtype=value.dtype)
        for name, value in state.parameters.items()
    }
    return replace(state, parameters={n: value + PERTURBATION * noise[n] for n, value in state.parameters.items()})


def widen_state(state: RowState, narrow: TrialGroup, wide: TrialGroup) -> RowState:
    """Copy every unit of an untrained state, whose moments are zero at any width."""
    assert state.step == 0, "moments do not widen like parameters"
    parameters, *moments = (
        widen(values, narrow.table, wide.table) for values in (state.parameters, *state.moments.values())
    )
    trial = replace(state.trial, width=wide.width)
    return RowState(trial, 0, parameters, dict(zip(state.moments, moments, strict=True)))
