"""A worker: trains the trials of one width after another in the slots of a group, until the owner has none left.

Nothing here knows Ray: the owner is whatever answers the :class:`Owner` calls.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from raytag.config.experiment import Experiment
from raytag.records import SECONDS, TRAIN_FLOPS
from raytag.search.folder import StudyFolder
from raytag.training import checkpoint
from raytag.training.cost import flops_per_step
from raytag.training.trial import Trial
from raytag.training.trial_group import StepResult, TrialGroup
from raytag.training.workload import Workload

__all__ = ["Owner", "Worker"]


class Owner(Protocol):
    """What a worker asks of :class:`raytag.search.owner.StudyOwner`."""

    def lease(self, worker: str) -> int | None:
        """Return the width to train next, or None."""

    def ask(self, worker: str, width: int) -> Trial | None:
        """Return a trial for a free slot, or None."""

    def report(self, worker: str, name: str, step: int, metrics: dict[str, float]) -> bool:
        """Record metrics; return whether the trial goes on."""

    def fail(self, worker: str, name: str, reason: str, traceback: str = "") -> None:
        """End a trial that cannot go on."""


@dataclass
class _Run:
    """A trial in training: what it reported, its share of the worker's seconds, its losses since the last report."""

    trial: Trial
    history: dict[int, dict[str, float]] = field(default_factory=dict)
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)


class Worker:
    """One worker of a search.

    Parameters
    ----------
    name
        Under which the owner knows it; it has been registered.
    owner
        Hands out trials and hears what becomes of them.
    workload, experiment, folder, device
        What to train, how, and where the checkpoints lie.
    """

    def __init__(
        self,
        name: str,
        owner: Owner,
        workload: Workload[Any],
        experiment: Experiment,
        folder: StudyFolder,
        *,
        device: torch.device,
    ) -> None:
        self._name, self._owner, self._workload = name, owner, workload
        self._experiment, self._folder, self._device = experiment, folder, device
        self._runs: dict[int, _Run] = {}  # slot → run
        self._flops_per_step = 0  # of the width in training

    def work(self) -> None:
        """Train until the owner has no trial left to begin."""
        while (width := self._owner.lease(self._name)) is not None:
            self._train_width(width)

    def _train_width(self, width: int) -> None:
        experiment = self._experiment
        group = TrialGroup(
            self._workload,
            width,
            experiment.resources.slots,
            mup=experiment.mup,
            training=experiment.training,
            device=self._device,
        )
        self._flops_per_step = flops_per_step(self._workload, group.model(0))
        self._fill(group)
        while self._runs:
            started = time.perf_counter()
            results = group.step()
            share = (time.perf_counter() - started) / len(results)
            before = len(self._runs)
            for slot, result in results.items():
                self._runs[slot].seconds += share
                self._follow(group, slot, result)
            if len(self._runs) < before:
                self._fill(group)

    def _fill(self, group: TrialGroup) -> None:
        """Start trials in the free slots, as far as the owner gives any."""
        for slot in group.free_slots:
            while slot not in self._runs:
                trial = self._owner.ask(self._name, group.width)
                if trial is None:
                    return
                self._start(group, slot, trial)

    def _start(self, group: TrialGroup, slot: int, trial: Trial) -> None:
        """Begin a trial, or go on from its checkpoint."""
        run = _Run(trial)
        state = None
        path = self._folder.checkpoint(trial.name)
        if path.exists():
            saved = checkpoint.load(path)
            state, run.history = saved.state, {step: dict(metrics) for step, metrics in saved.history.items()}
            run.seconds = run.history[state.step][SECONDS]
            # The worker may have died between saving and reporting; a report that did arrive changes nothing.
            if not all(self._report(trial, step, metrics) for step, metrics in run.history.items()):
                self._clean_up(trial, state.step)
                return
        with self._blaming(trial):
            group.start(slot, trial, state)
            self._runs[slot] = run

    def _follow(self, group: TrialGroup, slot: int, result: StepResult) -> None:
        """Do what a step's outcome asks for: go on, report, or end the trial."""
        run = self._runs[slot]
        run.losses.append(result.loss)
        goes_on = True
        if result.failure is not None:
            self._owner.fail(self._name, run.trial.name, result.failure)
            goes_on = False
        elif result.is_finished or result.step % self._experiment.training.evaluate_every == 0:
            goes_on = self._validate(group, slot, result.step)
        if not goes_on:
            group.free(slot)
            del self._runs[slot]
            self._clean_up(run.trial, result.step)

    def _validate(self, group: TrialGroup, slot: int, step: int) -> bool:
        """Validate a trial, save it, report it; return whether it goes on."""
        run = self._runs[slot]
        started = time.perf_counter()
        metrics: dict[str, float] = {}
        with self._blaming(run.trial):
            metrics = {f"val/{name}": value for name, value in group.evaluate(slot).items()}
        if not metrics:
            return False
        run.seconds += time.perf_counter() - started
        run.history[step] = {
            **metrics,
            "train/loss": sum(run.losses) / len(run.losses),
            SECONDS: run.seconds,
            TRAIN_FLOPS: float(step * self._flops_per_step),
        }
        run.losses.clear()
        # Saved before it is told: a trial may repeat steps after a crash, but never lacks the state it reported.
        path = self._folder.checkpoint(run.trial.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.save(path, group.state(slot), group.table, run.history)
        return self._report(run.trial, step, run.history[step])

    def _report(self, trial: Trial, step: int, metrics: dict[str, float]) -> bool:
        return self._owner.report(self._name, trial.name, step, metrics)

    def _clean_up(self, trial: Trial, step: int) -> None:
        """Remove the checkpoint of a trial that is over, unless it completed."""
        if step < self._experiment.training.num_steps:
            self._folder.checkpoint(trial.name).unlink(missing_ok=True)

    @contextmanager
    def _blaming(self, trial: Trial) -> Iterator[None]:
        """Fail a trial that raises, with its traceback, so that its neighbours can go on."""
        try:
            yield
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            self._owner.fail(self._name, trial.name, reason, traceback.format_exc())
