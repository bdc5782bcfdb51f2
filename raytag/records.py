"""What a study knows about its trials, as plain frozen data: what the logbook, the reports and transfer read.

Records are made by :mod:`raytag.search.study`; nothing here needs optuna, ray, torch or mlflow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from raytag.config.hyperparameters import Hyperparameters

__all__ = [
    "OBJECTIVE",
    "OBJECTIVE_STDERR",
    "SECONDS",
    "TRAIN_FLOPS",
    "Cost",
    "TrialRecord",
    "TrialState",
    "are_tied",
    "best_trials",
]

# Names in a trial's history; the workload's metrics of the validation split carry the prefix "val/".
OBJECTIVE = "val/objective"
OBJECTIVE_STDERR = "val/objective_stderr"
SECONDS = "seconds"
TRAIN_FLOPS = "train_flops"


class TrialState(StrEnum):
    """Where a trial stands."""

    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"


@dataclass(frozen=True)
class Cost:
    """What training took; costs add up.

    Floating-point operations are the same on every machine, so they compare a narrow sweep with tuning at the target
    width. Seconds of workers are what the user pays for.
    """

    train_flops: float = 0.0
    worker_seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.train_flops + other.train_flops, self.worker_seconds + other.worker_seconds)

    def __str__(self) -> str:
        return f"{self.worker_seconds:,.0f} worker-seconds, {self.train_flops / 1e12:.3g} TFLOP"


@dataclass(frozen=True)
class TrialRecord:
    """One trial of a study.

    ``searched`` holds the sampled values, ``hyperparameters`` these and all the fixed ones. ``history`` maps a trial's
    own step to the metrics it reported there, in rising order of steps.

    A trial may have been trained several times: K seeds (replicas) times F folds give M = K F members. ``members``
    then maps each step to the metrics of every member, in the order r0f0, r0f1, ..., r1f0, ..., ``num_folds`` is F, and
    ``history`` holds the members' ``reduction``. With one member ``members`` is empty.
    """

    name: str
    width: int
    number: int
    seed: int
    state: TrialState
    searched: Mapping[str, float]
    hyperparameters: Hyperparameters
    history: Mapping[int, Mapping[str, float]]
    worker: str | None = None
    failure: str | None = None
    members: Mapping[int, tuple[Mapping[str, float], ...]] = field(default_factory=dict)
    num_folds: int = 1
    reduction: str = "mean"

    @property
    def is_finished(self) -> bool:
        """Whether the trial will train no further."""
        return self.state is not TrialState.RUNNING

    @property
    def last_step(self) -> int:
        """The last step reported; 0 before the first report."""
        return max(self.history, default=0)

    @property
    def lr(self) -> float:
        """The trial's peak learning rate at the base width."""
        return self.hyperparameters.lr

    @property
    def objective(self) -> float:
        """The objective at the last step reported; NaN before the first report."""
        return self._latest(OBJECTIVE)

    @property
    def objective_stderr(self) -> float:
        """The objective's standard error over the validation jets; NaN where the workload gives none."""
        return self._latest(OBJECTIVE_STDERR)

    @property
    def cost(self) -> Cost:
        """What the trial took up to its last report; steps trained together share their time evenly."""
        last = self.history.get(self.last_step, {})
        return Cost(last.get(TRAIN_FLOPS, 0.0), last.get(SECONDS, 0.0))

    @property
    def failure_reason(self) -> str | None:
        """The first line of the failure text."""
        return self.failure.splitlines()[0] if self.failure else None

    def _latest(self, metric: str) -> float:
        return self.history[self.last_step].get(metric, math.nan) if self.history else math.nan


def best_trials(records: Sequence[TrialRecord], width: int) -> list[TrialRecord]:
    """Return the completed trials of a width, the lowest objective first."""
    complete = [r for r in records if r.width == width and r.state is TrialState.COMPLETE]
    return sorted(complete, key=lambda record: record.objective)


def are_tied(first: TrialRecord, second: TrialRecord) -> bool:
    """Tell whether two objectives differ by less than their combined standard error.

    The two errors are added in quadrature, as if independent. Trials are validated on the same jets, so the true error
    of the difference is smaller: the mark says "not resolved by these numbers", it does not prove equality.
    """
    combined = math.hypot(first.objective_stderr, second.objective_stderr)
    return abs(first.objective - second.objective) < combined
