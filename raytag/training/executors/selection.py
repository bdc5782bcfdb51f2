"""Choosing an executor by measurement.

A candidate must first give the loop's losses and gradients in float64. Those that do are timed in turn, and the fastest
is taken if it beats the loop beyond doubt.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from statistics import median, quantiles
from typing import Any

import torch
from torch import Tensor

from raytag.config.experiment import CompileMode, ExecutorName
from raytag.config.hyperparameters import Hyperparameters
from raytag.mup.multipliers import initialise
from raytag.training.executors.choice import Candidate, CandidateFigures, ExecutorChoice, executor_of
from raytag.training.executors.protocol import Executor
from raytag.training.layout import Layout
from raytag.training.precision import parameter_dtype
from raytag.training.storage import Storage
from raytag.training.workload import TrialModel, Workload

__all__ = ["choose_executor"]

MAX_DEVIATION = 1e-9
NUM_CHECKED_ROWS = 2
# Readouts and queries start at zero, where parts of the gradient vanish.
PERTURBATION = 0.05

NUM_ROUNDS = 7
MIN_ROUNDS = 3
MAX_SECONDS = 20.0
# More rows than this change a CPU's time per row little, and wide models would take minutes to time.
MAX_TIMED_ROWS_CPU = 4
# Who is this much slower than the loop in each of the first rounds is not going to win.
HOPELESS_ROUNDS, HOPELESS_LOSS = 2, 1.1
# What is not faster by this much may in truth be slower; so the chosen one is never below 0.97 of the loop.
MIN_GAIN = 1.03


def choose_executor(workload: Workload[Any], width: int, slots: int) -> ExecutorChoice:
    """Choose how groups of this width and number of slots run, with models of their own that belong to no group.

    An executor that the experiment names is not timed, only held against the loop. The workload is left in the layout
    that was chosen.
    """
    bench = _Bench(workload, width, slots)
    loop, *others = _candidates(workload, slots)
    if not others:
        chosen, reason = loop, "no other candidate"
    else:
        bench.check(loop, others)
        if workload.experiment.resources.executor == "auto":
            bench.time()
            chosen, reason = _fastest(loop, bench.usable_seconds())
        else:
            chosen, reason = others[-1], "named by resources.executor"
    if chosen in bench.problems:
        chosen = loop
    reason = "; ".join([reason, *(f"{candidate.name} {problem}" for candidate, problem in bench.problems.items())])
    workload.use_layout(chosen.layout)
    return ExecutorChoice(width, slots, workload.device.type, chosen, reason, bench.figures())


def _candidates(workload: Workload[Any], slots: int) -> list[Candidate]:
    """Return the plain loop in the default layout, then what else comes into question."""
    resources, layouts = workload.experiment.resources, workload.layouts
    modes: list[CompileMode] = ["off"] if resources.compile == "off" else ["off", resources.compile]
    if resources.executor == "auto":
        names: list[ExecutorName] = ["loop", "vmap"] if slots > 1 else ["loop"]
        return [Candidate(*combination) for combination in itertools.product(names, modes, layouts)]
    layout = layouts[0] if resources.compile == "off" else _layout_to_compile_for(workload)
    loop, named = Candidate("loop", "off", layouts[0]), Candidate(resources.executor, modes[-1], layout)
    return list(dict.fromkeys([loop, named]))


def _layout_to_compile_for(workload: Workload[Any]) -> str:
    """Return the first layout whose batches have few shapes, without which vmap cannot be compiled, or the default."""
    for layout in workload.layouts:
        workload.use_layout(layout)
        if workload.has_static_shapes:
            return layout
    return workload.layouts[0]


def _fastest(loop: Candidate, seconds: Mapping[Candidate, Sequence[float]]) -> tuple[Candidate, str]:
    """Return the candidate with the largest gain over the loop, unless that is within the doubt; and say so.

    Gains are medians of ratios within a round, so that a machine that slows down for a while slows down both.
    """
    gains = {
        candidate: median(mine / theirs for mine, theirs in zip(seconds[loop], times, strict=True))
        for candidate, times in seconds.items()
        if candidate != loop
    }
    if not gains:
        return loop, "no other candidate can be used"
    best = max(gains, key=gains.__getitem__)
    if gains[best] < MIN_GAIN:
        return loop, f"{best.name} takes {1 / gains[best]:.2f} of its time"
    return best, f"{gains[best]:.2f} times as fast as {loop.name}"


def _is_decided(seconds: Mapping[Candidate, Sequence[float]]) -> bool:
    """Whether every candidate after the first, the loop, has been hopelessly slower in every round."""
    loop, *others = seconds.values()
    return all(mine < theirs / HOPELESS_LOSS for times in others for mine, theirs in zip(loop, times, strict=True))


@dataclass
class _Bench:
    """Runs candidates on models of its own, and keeps what it finds out about them."""

    workload: Workload[Any]
    width: int
    slots: int
    deviations: dict[Candidate, float] = field(default_factory=dict)
    seconds: dict[Candidate, list[float]] = field(default_factory=dict)
    problems: dict[Candidate, str] = field(default_factory=dict)

    def check(self, loop: Candidate, others: Sequence[Candidate]) -> None:
        """Hold candidates against the loop: one step of a few unlike rows in float64."""
        expected = self._float64_step(loop)
        self.deviations[loop] = 0.0
        for candidate in others:
            with self._noting_problems(candidate):
                found = self._float64_step(candidate)
                deviation = max(_deviation(*pair) for pair in zip(found, expected, strict=True))
                self.deviations[candidate] = deviation
                if not deviation <= MAX_DEVIATION:
                    self.problems[candidate] = f"differs from the loop by {deviation:.1e} (allowed: {MAX_DEVIATION:g})"

    def time(self) -> None:
        """Measure seconds per trial and step of the checked candidates, which take turns round by round.

        Half the rows are at another step than the others, as after a pruning: who needs all of them on one minibatch
        would lose in the rest of a search what it wins at its start.
        """
        training = self.workload.experiment.training
        rows = self.slots if self.workload.device.type == "cuda" else min(self.slots, MAX_TIMED_ROWS_CPU)
        _, models = self._models(rows, parameter_dtype(training))
        executors = {candidate: executor_of(candidate, training.autocast) for candidate in self.deviations}
        started = time.monotonic()
        for number in range(1 + NUM_ROUNDS):
            if number > MIN_ROUNDS and time.monotonic() - started > MAX_SECONDS:
                break
            if number > HOPELESS_ROUNDS and _is_decided(self.usable_seconds()):
                break
            for candidate, executor in executors.items():
                if candidate not in self.problems:
                    with self._noting_problems(candidate):
                        seconds = self._stopwatch(candidate, executor, models, number) / rows
                        self.seconds.setdefault(candidate, []).append(seconds)

    def usable_seconds(self) -> dict[Candidate, list[float]]:
        """Return the seconds of the candidates without problems; the first round warmed them up."""
        return {candidate: times[1:] for candidate, times in self.seconds.items() if candidate not in self.problems}

    def figures(self) -> tuple[CandidateFigures, ...]:
        """Return what was found out about each candidate."""
        seconds = self.usable_seconds()

        def figures(candidate: Candidate) -> CandidateFigures:
            quartiles = _quartiles(seconds.get(candidate))
            return CandidateFigures(candidate, self.deviations.get(candidate), *quartiles, self.problems.get(candidate))

        return tuple(figures(candidate) for candidate in dict.fromkeys([*self.deviations, *self.problems]))

    @contextmanager
    def _noting_problems(self, candidate: Candidate) -> Iterator[None]:
        """Strike out a candidate that fails, unless it is the loop, without which nothing can be trained."""
        try:
            yield
        except Exception as error:  # whatever a compiler may raise, or too little memory
            if candidate == next(iter(self.deviations)):
                raise
            self.problems[candidate] = f"is not available: {_one_line(error)}"

    def _stopwatch(self, candidate: Candidate, executor: Executor, models: Sequence[TrialModel], step: int) -> float:
        self.workload.use_layout(candidate.layout)
        halves = [self.workload.train_batch(2 * step), self.workload.train_batch(2 * step + 1)]
        batches = [halves[row % 2] for row in range(len(models))]
        clock = time.process_time if self.workload.device.type == "cpu" else _synchronised
        started = clock()
        executor(self.workload, models, batches)
        return clock() - started

    def _float64_step(self, candidate: Candidate) -> tuple[Tensor, Tensor]:
        """Return the losses (R, K) and the gradients (R, P) of one step."""
        self.workload.use_layout(candidate.layout)
        storage, models = self._models(min(self.slots, NUM_CHECKED_ROWS), torch.float64)
        batch = _in_float64(self.workload.train_batch(0))
        losses = executor_of(candidate, "none")(self.workload, models, [batch] * len(models))
        return losses.tasks, torch.stack([row.gradients for row in storage.rows])

    def _models(self, num_rows: int, dtype: torch.dtype) -> tuple[Storage, list[TrialModel]]:
        """Build models with unlike settings, away from the zeros of their initialisation."""
        table, device = self.workload.rule_table(self.width), self.workload.device
        storage = Storage(num_rows, Layout.of(table, dtype), (), dtype=dtype, device=device)
        build = self.workload.build_model
        models = [storage.adopt(row, build(self.width).to(device, dtype)) for row in range(num_rows)]
        for row, model in enumerate(models):
            initialise(model, table, seed=row, init_scale=1.0)
            _perturb(model, seed=row)
            model.set_hyperparameters(
                Hyperparameters(dropout=0.1 * (row % 2), label_smoothing=0.05 * (row % 3), alpha_output=1.0 + row)
            )
            model.dropout.set_key(1 + row)
        return storage, models


def _perturb(model: TrialModel, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(PERTURBATION * noise.to(parameter))


def _in_float64(batch: Any) -> Any:
    """Return a batch with its floating-point tensors in float64, at any depth of dataclasses and tuples."""
    if isinstance(batch, Tensor):
        return batch.double() if batch.is_floating_point() else batch
    if isinstance(batch, tuple):
        return tuple(_in_float64(part) for part in batch)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        fields = (one.name for one in dataclasses.fields(batch))
        return replace(batch, **{name: _in_float64(getattr(batch, name)) for name in fields})
    return batch


def _deviation(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference of two rows of (R, N), relative to the expected row's norm."""
    return float(((found - expected).norm(dim=1) / expected.norm(dim=1)).max())


def _quartiles(seconds: Sequence[float] | None) -> tuple[float | None, float | None, float | None]:
    """Return median, lower and upper quartile in milliseconds."""
    if seconds is None:
        return None, None, None
    low, middle, high = (1000 * quartile for quartile in quantiles(seconds, n=4, method="inclusive"))
    return middle, low, high


def _synchronised() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


def _one_line(error: Exception) -> str:
    """Return what an error says in one line; of an error that wraps another, the other's words."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.endswith("raised:")]
    return told[0] if told else type(error).__name__
