"""What the runs of both sides say, as the Markdown of docs/performance.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median, pstdev

from benchmarks.page import machine, spread
from benchmarks.steps import StepTimes
from benchmarks.stopwatch import SAMPLE_SECONDS, Cost
from raytag.config.experiment import Experiment

__all__ = ["Comparison", "Run", "describe"]


@dataclass(frozen=True)
class Run:
    """One side's sweep: its cost, the final objective of each trial, and the seconds spent on steps and validations."""

    cost: Cost
    objectives: Mapping[str, float]
    training_seconds: float


@dataclass(frozen=True)
class Comparison:
    """All runs, raytag first in each pair, and what was measured beside them."""

    experiment: Experiment
    num_cores: int
    pairs: Sequence[tuple[Run, Run]]
    step_times: Sequence[StepTimes]
    gate_seconds: float

    @property
    def sides(self) -> tuple[Sequence[Run], Sequence[Run]]:
        """The runs of raytag and those of the baseline."""
        raytag, plain = zip(*self.pairs, strict=True)
        return raytag, plain

    def medians(self, figure: Callable[[Run], float]) -> tuple[float, float]:
        """Return the median of a figure over the runs of each side."""
        raytag, plain = self.sides
        return median(map(figure, raytag)), median(map(figure, plain))


def describe(comparison: Comparison) -> str:
    """Return the figures as Markdown."""
    parts = (_setting, _costs, _places, _steps, _losses, _gates)
    return "\n\n".join(part(comparison) for part in parts)


def _setting(comparison: Comparison) -> str:
    experiment, training = comparison.experiment, comparison.experiment.training
    search = experiment.search
    foreign = [spread((100 * run.cost.foreign_share for run in side), ".0f") for side in comparison.sides]
    return (
        f"{machine(('torch', 'ray', 'optuna'))}\n"
        f"{search.trials_per_width} trials at each of the widths {', '.join(map(str, search.widths))}; "
        f"{training.num_steps} steps of {training.batch_size} jets, {training.num_steps // training.evaluate_every} "
        f"validations, {experiment.model.num_layers} layers. {len(comparison.pairs)} runs of each side, in turn.\n"
        f"Other work took {foreign[0]} % of the cores during raytag's runs and {foreign[1]} % during the others."
    )


def _costs(comparison: Comparison) -> str:
    def row(title: str, figure: Callable[[Run], float]) -> str:
        ratios = [figure(plain) / figure(raytag) for raytag, plain in comparison.pairs]
        sides = [spread(map(figure, side), ".1f") for side in comparison.sides]
        return (
            f"| {title} | {sides[0]} | {sides[1]} | **{median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f}) |"
        )

    missed = [SAMPLE_SECONDS * number for number in comparison.medians(lambda run: run.cost.num_processes)]
    return "\n".join(
        [
            "| median (smallest to largest) | raytag | plain Ray Tune | plain / raytag |",
            "|---|---|---|---|",
            row("wall time, s", lambda run: run.cost.wall_seconds),
            row("CPU time of all processes, s", lambda run: run.cost.cpu_seconds),
            "",
            f"The last {SAMPLE_SECONDS:g} s of each process may be missing from the CPU time: up to {missed[0]:.0f} s "
            f"and {missed[1]:.0f} s in all.",
        ]
    )


def _places(comparison: Comparison) -> str:
    training = comparison.medians(lambda run: run.training_seconds)
    total = comparison.medians(lambda run: run.cost.wall_seconds * comparison.num_cores)
    rest = (total[0] - training[0], total[1] - training[1])
    saved = total[1] - total[0]

    def row(title: str, figures: tuple[float, float]) -> str:
        raytag, plain = figures
        return (
            f"| {title} | {raytag:.0f} | {plain:.0f} | {plain / raytag:.1f} | {100 * (plain - raytag) / saved:.0f} % |"
        )

    return "\n".join(
        [
            "| core-seconds (wall time × cores) | raytag | plain Ray Tune | plain / raytag | share of the saving |",
            "|---|---|---|---|---|",
            row("steps and validations: padding, shared batches", training),
            row("all else: processes, imports, reading, records, idle cores", rest),
            row("sum", total),
        ]
    )


def _steps(comparison: Comparison) -> str:
    def row(times: StepTimes) -> str:
        cells = [f"{1e3 * seconds:.1f}" for seconds in (times.packed, times.padded, times.trimmed)]
        ratios = [f"{seconds / times.packed:.1f}" for seconds in (times.padded, times.trimmed)]
        return f"| {times.width} | {' | '.join(cells + ratios)} |"

    return "\n".join(
        [
            "| ms of one trial's step, at width | packed | padded | trimmed | padded / packed | trimmed / packed |",
            "|---|---|---|---|---|---|",
            *map(row, comparison.step_times),
            "",
            "CPU time, or wall time on a GPU. Trimmed: padded to the longest jet of each minibatch instead of the 40 "
            "slots of the file.",
        ]
    )


def _losses(comparison: Comparison) -> str:
    raytag, plain = comparison.sides
    comparisons = [("raytag and plain", [d for pair in comparison.pairs for d in _differences(*pair)])]
    if len(comparison.pairs) > 1:
        comparisons.append(("plain and plain with each minibatch's jets in reverse", _differences_of_neighbours(plain)))
        comparisons.append(("raytag and raytag again", _differences_of_neighbours(raytag)))
    spread = _smallest_spread(plain[0].objectives)
    return "\n".join(
        [
            "| difference of a trial's final validation loss | median | largest | largest / scatter of trials |",
            "|---|---|---|---|",
            *(f"| {title} | {median(d):.1e} | {max(d):.1e} | {max(d) / spread:.2f} |" for title, d in comparisons),
            "",
            f"Trials of one width scatter by {spread:.2g} (standard deviation, the smaller of the widths).",
        ]
    )


def _gates(comparison: Comparison) -> str:
    return (
        f"The muP gates, switched off here because the baseline has none, take {comparison.gate_seconds:.0f} s, once "
        "per study."
    )


def _differences(first: Run, second: Run) -> list[float]:
    assert first.objectives.keys() == second.objectives.keys(), "the two sides trained different trials"
    return [abs(first.objectives[name] - second.objectives[name]) for name in first.objectives]


def _differences_of_neighbours(runs: Sequence[Run]) -> list[float]:
    return [difference for first, second in pairwise(runs) for difference in _differences(first, second)]


def _smallest_spread(objectives: Mapping[str, float]) -> float:
    by_width: dict[str, list[float]] = {}
    for name, objective in objectives.items():
        by_width.setdefault(name.partition("-")[0], []).append(objective)
    return min(map(pstdev, by_width.values()))
