"""What a grid of model sizes and training lengths says about scaling: cells, law, cost, and the best use of compute."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from raytag.config.experiment import Experiment
from raytag.errors import RaytagError
from raytag.records import TrialRecord, TrialState
from raytag.report.intervals import CONFIDENCE
from raytag.report.scaling_fit import EXPONENTS, ScalingLaw, bootstrap_laws, fit_law
from raytag.report.scaling_frontier import CostLaw, Frontier

__all__ = ["Cell", "Interval", "ScalingAnalysis", "analyse_scaling", "cells_of"]

Floats = NDArray[np.float64]

MIN_CELLS, MIN_VALUES = 6, 3  # a cell more than the law has parameters; three points tell a curve from a line
# Up to four epochs, repeated data are worth almost as much as new ones (Muennighoff et al., arXiv:2305.16264).
MAX_EPOCHS = 4.0
NUM_DRAWS = 300


@dataclass(frozen=True)
class Cell:
    """One model trained for one length.

    Attributes
    ----------
    num_parameters
        N: all trained parameters, the embedding and the heads among them.
    num_jets
        D: training jets seen, counting repetitions.
    epochs
        How often each jet was seen; None if the number of training jets is not known.
    train_flops
        C: measured, of one training.
    losses
        The objective of every seed.
    """

    width: int
    num_layers: int
    num_parameters: int
    num_jets: int
    epochs: float | None
    train_flops: float
    losses: tuple[float, ...]

    @property
    def loss(self) -> float:
        """The mean over the seeds."""
        return float(np.mean(self.losses))

    @property
    def stderr(self) -> float:
        """The standard error of the mean over the seeds; NaN of a single one."""
        return float(np.std(self.losses, ddof=1) / math.sqrt(len(self.losses))) if len(self.losses) > 1 else math.nan

    @property
    def is_repeated(self) -> bool:
        """Whether jets were seen more than once."""
        return self.epochs is not None and self.epochs > 1

    @property
    def is_fitted(self) -> bool:
        """Whether the law, which knows no repetition, may be asked to describe the cell."""
        return self.epochs is None or self.epochs <= MAX_EPOCHS


@dataclass(frozen=True)
class Interval:
    """A value with its bootstrap interval of 95 %."""

    value: float
    low: float
    high: float
    is_determined: bool

    @classmethod
    def of(cls, value: float, draws: Floats) -> Interval:
        """Take the quantiles of bootstrap draws; an interval wider than the value determines nothing."""
        tail = 50 * (1 - CONFIDENCE)
        low, high = map(float, np.percentile(draws, [tail, 100 - tail]))
        return cls(value, low, high, math.isfinite(value) and high - low < abs(value))


@dataclass(frozen=True)
class ScalingAnalysis:
    """The cells of a grid, what was left out of it, the law with its bootstrap draws (B, 5), and the cost.

    ``missing`` says in words which trainings are not among the cells, and why.
    """

    cells: tuple[Cell, ...]
    missing: tuple[str, ...]
    law: ScalingLaw
    draws: Floats
    cost: CostLaw

    @property
    def best_cells(self) -> tuple[Cell, ...]:
        """The cells with a lower loss than every cheaper one, ascending in cost: the frontier as measured."""
        best: list[Cell] = []
        for cell in sorted(self.cells, key=lambda cell: (cell.train_flops, cell.loss)):
            if not best or cell.loss < best[-1].loss:
                best.append(cell)
        return tuple(best)

    @property
    def frontier(self) -> Frontier:
        """The best use of compute."""
        return Frontier(self.law, self.cost)

    @property
    def knows_frontier(self) -> bool:
        """Whether the trainings determine how compute is best divided between size and data."""
        return self.frontier.exists and self.intervals["size_power"].is_determined

    @property
    def deviations(self) -> Floats:
        """Measured over fitted loss less 1, of the fitted cells."""
        cells = [cell for cell in self.cells if cell.is_fitted]
        return np.array([cell.loss / float(self.law.loss(cell.num_parameters, cell.num_jets)) - 1 for cell in cells])

    @property
    def scatter(self) -> float:
        """The median relative standard error of a cell, over its seeds; 0 where every cell has one seed."""
        return _scatter(self.cells)

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """Every field of the law, and the two powers of the frontier, with intervals.

        What is at the edge of the searched exponents, or belongs to a term that the fit does without, is not
        determined; nor are the powers unless both exponents are.
        """
        names = [field.name for field in fields(ScalingLaw)]
        values = dict(zip(names, astuple(self.law), strict=True))
        found = {name: Interval.of(values[name], self.draws[:, i]) for i, name in enumerate(names)}
        for term in ("size", "data"):
            exponent = found[f"{term}_exponent"]
            is_inside = 1.01 * EXPONENTS[0] < exponent.value < EXPONENTS[1] / 1.01 and values[f"{term}_factor"] > 0
            found[f"{term}_exponent"] = _mark(exponent, exponent.is_determined and is_inside)
        are_known = found["size_exponent"].is_determined and found["data_exponent"].is_determined
        frontiers = [Frontier(ScalingLaw(*draw), self.cost) for draw in self.draws]
        for name in ("size_power", "data_power"):
            power = Interval.of(getattr(self.frontier, name), np.array([getattr(each, name) for each in frontiers]))
            found[name] = _mark(power, power.is_determined and are_known)
        return found


def cells_of(
    experiment: Experiment, records: Iterable[TrialRecord], num_train_jets: int | None
) -> tuple[list[Cell], list[str]]:
    """Return a cell for every completed trial of a study, and say what is missing of the others.

    ``num_train_jets`` are the different jets that a training could see.
    """
    cells, missing = [], []
    for record in records:
        name = f"{experiment.name}, width {record.width}"
        num_parameters = record.num_parameters
        if record.state is not TrialState.COMPLETE:
            missing.append(f"{name}: {record.failure_reason or record.state}")
        elif not math.isfinite(record.objective):
            missing.append(f"{name}: its loss is {record.objective}")
        elif num_parameters is None or not record.cost.train_flops > 0:
            missing.append(f"{name}: trained before raytag recorded the size of a model")
        else:
            cells.append(_cell(experiment, record, num_parameters, num_train_jets))
    begun = {record.width for record in records}
    missing += [f"{experiment.name}, width {w}: not begun" for w in experiment.search.widths if w not in begun]
    return cells, missing


def analyse_scaling(cells: Sequence[Cell], missing: Sequence[str] = (), num_draws: int = NUM_DRAWS) -> ScalingAnalysis:
    """Fit the law to cells, with a bootstrap over cells and seeds.

    Raises
    ------
    RaytagError
        There are too few cells, sizes or amounts of data to fit a law to.
    """
    fitted = [cell for cell in cells if cell.is_fitted]
    sizes, data = (np.array([getattr(cell, name) for cell in fitted], float) for name in ("num_parameters", "num_jets"))
    _check_grid(len(fitted), len(set(sizes)), len(set(data)), missing)
    errors = _errors(fitted)
    law = fit_law(sizes, data, np.array([cell.loss for cell in fitted]), errors)
    seeds = [np.array(cell.losses) for cell in fitted]
    draws = bootstrap_laws(sizes, data, seeds, errors=errors, num_draws=num_draws)
    cost = CostLaw.of([c.num_parameters for c in cells], [c.train_flops / c.num_jets for c in cells])
    return ScalingAnalysis(tuple(cells), tuple(missing), law, draws, cost)


def _cell(experiment: Experiment, record: TrialRecord, num_parameters: int, num_train_jets: int | None) -> Cell:
    num_jets = record.last_step * experiment.training.batch_size
    return Cell(
        width=record.width,
        num_layers=experiment.model.num_layers,
        num_parameters=num_parameters,
        num_jets=num_jets,
        epochs=num_jets / num_train_jets if num_train_jets else None,
        train_flops=record.cost.train_flops / record.num_members,
        losses=tuple(loss for replica in record.objectives for loss in replica),
    )


def _check_grid(num_cells: int, num_sizes: int, num_data: int, missing: Sequence[str]) -> None:
    if num_cells >= MIN_CELLS and min(num_sizes, num_data) >= MIN_VALUES:
        return
    unfinished = (
        f" Of the study {len(missing)} trainings are missing: go on with raytag search FILE." if missing else ""
    )
    raise RaytagError(
        f"A scaling law needs at least {MIN_CELLS} finished trainings, with {MIN_VALUES} model sizes and {MIN_VALUES} "
        f"numbers of jets seen (steps x batch); found {num_cells}, with {num_sizes} and {num_data}.{unfinished}"
    )


def _scatter(cells: Sequence[Cell]) -> float:
    errors = [cell.stderr / cell.loss for cell in cells if math.isfinite(cell.stderr)]
    return float(np.median(errors)) if errors else 0.0


def _errors(cells: Sequence[Cell]) -> Floats:
    """Return the cells' relative standard errors, at least the median one: a few seeds may lie together by chance."""
    return np.fmax([cell.stderr / cell.loss for cell in cells], _scatter(cells))


def _mark(interval: Interval, is_determined: bool) -> Interval:
    return Interval(interval.value, interval.low, interval.high, is_determined)
