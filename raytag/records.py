"""What a study knows about its trials, as plain frozen data: what the logbook, the reports and transfer read.

Records are made by :mod:`raytag.search.journal`; nothing here needs optuna, ray, torch or mlflow.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from raytag.config.experiment import Reduction
from raytag.config.hyperparameters import Hyperparameters

__all__ = [
    "NUM_PARAMETERS",
    "OBJECTIVE",
    "OBJECTIVE_STDERR",
    "SECONDS",
    "TRAIN_FLOPS",
    "Cost",
    "Difference",
    "Move",
    "Spread",
    "TrialRecord",
    "TrialState",
    "are_tied",
    "best_trials",
    "difference",
    "num_taken",
    "spread",
]

# Names in a trial's history; the workload's metrics of the validation split carry the prefix "val/".
OBJECTIVE = "val/objective"
OBJECTIVE_STDERR = "val/objective_stderr"
SECONDS = "seconds"
TRAIN_FLOPS = "train_flops"
NUM_PARAMETERS = "num_parameters"


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

    def __rmul__(self, number: int) -> Cost:
        return Cost(number * self.train_flops, number * self.worker_seconds)

    def __str__(self) -> str:
        return f"{self.worker_seconds:,.0f} worker-seconds, {self.train_flops / 1e12:.3g} TFLOP"


@dataclass(frozen=True)
class Move:
    """A trial goes on from the parameters and moments of ``source``, with these hyperparameters."""

    source: str
    hyperparameters: Hyperparameters

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as the study keeps them."""
        return {"source": self.source, "hyperparameters": self.hyperparameters.model_dump()}

    @classmethod
    def from_dict(cls, move: Mapping[str, Any]) -> Move:
        """Read what :meth:`to_dict` wrote."""
        return cls(move["source"], Hyperparameters(**move["hyperparameters"]))


@dataclass(frozen=True)
class TrialRecord:
    """One trial of a study.

    ``searched`` holds the sampled values, ``hyperparameters`` these and all the fixed ones. ``history`` maps a trial's
    own step to the metrics it reported there, in rising order of steps.

    A trial may have been trained several times: K seeds (replicas) times F folds give M = K F members. ``members``
    then maps each step to the metrics of every member, in the order r0f0, r0f1, ..., r1f0, ..., ``num_folds`` is F, and
    ``history`` holds the members' ``reduction``, of the ``best_fraction`` of them if that is its name. With one member
    ``members`` is empty. With ``has_paired_seeds`` member m of every trial of the study has the same seed.

    A trial that failed ``has_diverged`` if a loss or gradient of its own stopped being a number, which is a result like
    others: its hyperparameters are bad. If it has not, it broke off.

    In population-based training ``moves`` tells by step from whom the trial went on, and with what; ``hyperparameters``
    are then those of its last generation, and ``searched`` those it began with.
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
    has_diverged: bool = False
    members: Mapping[int, tuple[Mapping[str, float], ...]] = field(default_factory=dict)
    num_folds: int = 1
    reduction: Reduction = "mean"
    best_fraction: float = 1.0
    has_paired_seeds: bool = False
    moves: Mapping[int, Move] = field(default_factory=dict)

    @property
    def is_finished(self) -> bool:
        """Whether the trial will train no further."""
        return self.state is not TrialState.RUNNING

    @property
    def broke_off(self) -> bool:
        """Whether it failed for nothing that its hyperparameters did: lost workers, too little memory, a bad file."""
        return self.state is TrialState.FAILED and not self.has_diverged

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
    def num_parameters(self) -> int | None:
        """All trained parameters of one member's model; None in studies that did not record it."""
        number = self._latest(NUM_PARAMETERS)
        return None if math.isnan(number) else int(number)

    @property
    def failure_reason(self) -> str | None:
        """The first line of the failure text."""
        return self.failure.splitlines()[0] if self.failure else None

    def hyperparameters_at(self, step: int) -> Hyperparameters:
        """Return what the trial was trained with up to a step, not counting a move made there."""
        earlier = [at for at in self.moves if at < step]
        if earlier:
            return self.moves[max(earlier)].hyperparameters
        return self.hyperparameters.model_copy(update=dict(self.searched))

    @property
    def num_members(self) -> int:
        """How many trainings the trial consists of."""
        return max(1, len(self.members.get(self.last_step, ())))

    @property
    def num_taken(self) -> int:
        """How many members' objectives make the trial's."""
        return num_taken(self.num_members, self.reduction, self.best_fraction)

    @property
    def member_labels(self) -> tuple[str, ...]:
        """What the members' names end in, as in "r1f2": replica, fold or both, whichever there are several of."""
        num_replicas, num_folds = len(self.objectives), self.num_folds
        replicas = [f"r{replica}" if num_replicas > 1 else "" for replica in range(num_replicas)]
        folds = [f"f{fold}" if num_folds > 1 else "" for fold in range(num_folds)]
        return tuple(replica + fold for replica in replicas for fold in folds)

    @property
    def objectives(self) -> tuple[tuple[float, ...], ...]:
        """The members' objectives at the last step reported: a row per replica, a column per fold."""
        members = [metrics[OBJECTIVE] for metrics in self.members.get(self.last_step, ())] or [self.objective]
        starts = range(0, len(members), self.num_folds)
        return tuple(tuple(members[start : start + self.num_folds]) for start in starts)

    @property
    def fold_means(self) -> tuple[float, ...]:
        """The objective of each fold at the last step reported, averaged over the replicas."""
        return tuple(statistics.fmean(fold) for fold in zip(*self.objectives, strict=True))

    @property
    def replica_means(self) -> tuple[float, ...]:
        """The objective of each replica at the last step reported, averaged over the folds."""
        return tuple(statistics.fmean(replica) for replica in self.objectives)

    def _latest(self, metric: str) -> float:
        return self.history[self.last_step].get(metric, math.nan) if self.history else math.nan


@dataclass(frozen=True)
class Difference:
    """How far two objectives lie apart, the first less the second, and what its error is made of.

    ``degrees`` are the degrees of freedom of ``stderr``: few where it comes from a handful of members, infinitely many
    where it comes from thousands of jets.
    """

    mean: float
    stderr: float
    degrees: float = math.inf
    basis: Literal["folds", "seeds", "members", "jets"] = "jets"

    @property
    def noise(self) -> float:
        """The half width of the 68 % confidence interval: the standard error times Student's t.

        One standard error of few degrees of freedom covers less than 68 %: with 3 folds t is 1.32, with 2 it is 1.84.
        """
        return self.stderr * _student(self.degrees)


@dataclass(frozen=True)
class Spread:
    """Standard deviations of a trial's objective: over seeds, and over folds beyond what the seeds explain.

    None where there are not two of a kind. Without replicas ``folds`` contains the seeds.
    """

    seeds: float | None
    folds: float | None


def best_trials(records: Sequence[TrialRecord], width: int | None = None) -> list[TrialRecord]:
    """Return the completed trials of a width, or of all widths, the lowest objective first."""
    complete = [r for r in records if width in (None, r.width) and r.state is TrialState.COMPLETE]
    return sorted(complete, key=lambda record: record.objective)


def difference(first: TrialRecord, second: TrialRecord) -> Difference:
    """Return how far two objectives lie apart, with the sharpest error that the records allow.

    Folds
        Both trials have the same folds, at least two, and their objectives are means. Fold f holds out the same jets
        from both, so the folds are pairs: with d_f the difference of the replicas' means in fold f, the error is
        s(d) / √F with F - 1 degrees of freedom. It contains the seeds, the jets and whatever depends on both trial and
        fold. It takes the folds for independent, although their training jets overlap (Bengio and Grandvalet, JMLR 5,
        2004).
    Seeds
        Both trials have the same seeds, at least two, at the same width, and their objectives are means: replica r of
        both starts from the same weights, and sees the same batches. With d_r the difference in replica r, the error is
        s(d) / √S with S - 1 degrees of freedom. It contains the seeds, but not the jets, which are the same for all.
    Members
        Otherwise, where a trial has several members, the two standard errors are added in quadrature (with Welch's
        degrees of freedom), as the trials share no seed. Without folds all members are validated on the same jets:
        the error says how other seeds would do on these jets, not how these seeds would do on others.
    Jets
        A trial has one member, or a single one counts: the errors over the validation jets are added in quadrature, as
        if independent. The jets are the same, so this error of the difference is too large, while the seeds are not in
        it at all.
    """
    mean = first.objective - second.objective
    if _are_means(first, second) and first.num_folds == second.num_folds > 1:
        return _paired(mean, first.fold_means, second.fold_means, "folds")
    if _are_means(first, second) and _share_seeds(first, second):
        return _paired(mean, first.replica_means, second.replica_means, "seeds")
    stderr = math.hypot(first.objective_stderr, second.objective_stderr)
    if _is_of_jets(first) and _is_of_jets(second):
        return Difference(mean, stderr)
    return Difference(mean, stderr, _welch(first, second), "members")


def num_taken(num_members: int, reduction: Reduction, best_fraction: float) -> int:
    """Return how many members' objectives a reduction averages."""
    match reduction:
        case "mean":
            return num_members
        case "worst":
            return 1
        case "best_fraction":
            return max(1, math.floor(best_fraction * num_members + 1e-9))  # 0.29 of 100 is 28.999999999999996


def are_tied(first: TrialRecord, second: TrialRecord) -> bool:
    """Tell whether two objectives differ by less than the noise of their difference (:attr:`Difference.noise`).

    The mark says "not resolved by these numbers"; it does not prove equality. And of two trials that are truly equal
    one in three pairs is not marked: it is a reading aid for a ranking, not a test at some level.
    """
    apart = difference(first, second)
    return abs(apart.mean) < apart.noise


def spread(record: TrialRecord) -> Spread:
    """Split the scatter of a trial's members into seeds and folds (one-way analysis of variance, folds as groups)."""
    matrix = record.objectives
    num_replicas, num_folds = len(matrix), len(matrix[0])
    between = statistics.variance(record.fold_means) if num_folds > 1 else None
    if num_replicas == 1:
        return Spread(seeds=None, folds=None if between is None else math.sqrt(between))
    within = statistics.fmean(statistics.variance(fold) for fold in zip(*matrix, strict=True))
    folds = None if between is None else math.sqrt(max(0.0, between - within / num_replicas))
    return Spread(math.sqrt(within), folds)


def _paired(
    mean: float, first: Sequence[float], second: Sequence[float], basis: Literal["folds", "seeds"]
) -> Difference:
    """Return a difference whose error is that of the mean over pairs."""
    apart = [a - b for a, b in zip(first, second, strict=True)]
    return Difference(mean, statistics.stdev(apart) / math.sqrt(len(apart)), len(apart) - 1, basis)


def _are_means(first: TrialRecord, second: TrialRecord) -> bool:
    return first.reduction == second.reduction == "mean"


def _share_seeds(first: TrialRecord, second: TrialRecord) -> bool:
    """Whether both trials consist of the same replicas, at least two."""
    are_paired = first.has_paired_seeds and second.has_paired_seeds and first.width == second.width
    return are_paired and len(first.objectives) == len(second.objectives) > 1


def _is_of_jets(record: TrialRecord) -> bool:
    """Whether the objective's error is that of one training over the validation jets."""
    return record.num_taken == 1


def _welch(first: TrialRecord, second: TrialRecord) -> float:
    """Return the degrees of freedom of two errors in quadrature (Welch 1947)."""
    variances = [record.objective_stderr**2 for record in (first, second)]
    degrees = [record.num_taken - 1 or math.inf for record in (first, second)]
    scatter = sum(v**2 / nu for v, nu in zip(variances, degrees, strict=True))
    return sum(variances) ** 2 / scatter if scatter > 0 else math.inf


def _student(degrees: float) -> float:
    """Return what Student's t has in place of one standard deviation: 68.27 % lie between it and its negative.

    The expansion of Abramowitz and Stegun 26.7.5 at x = 1: 1.3 % low for one degree of freedom, exact to 1e-3 for more.
    """
    return 1 + 1 / (2 * degrees) + 1 / (4 * degrees**2) + 1 / (16 * degrees**3)
