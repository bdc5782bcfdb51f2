"""The trials of one width in the slots of one group: started, stepped, validated, saved, reported, and ended.

The loop acts on where each member stands, not on what just happened: a trial that comes from a checkpoint of any moment
of its life is treated as one that was here all along.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch

from raytag.errors import typed_line
from raytag.search.folder import StudyFolder
from raytag.search.members import Assignment, Metrics
from raytag.search.running import Member, RunningTrial
from raytag.training.cost import flops_per_step
from raytag.training.trial import RowState
from raytag.training.trial_group import TrialGroup, compaction_target

__all__ = ["Owner", "TrainingLoop"]


class Owner(Protocol):
    """What a worker asks of :class:`raytag.search.owner.StudyOwner`."""

    def lease(self, worker: str) -> int | None:
        """Return the width to train next, or None."""

    def is_over(self) -> bool:
        """Tell whether nothing will be left to lease any more."""

    def ask(self, worker: str, width: int, num_free: int) -> Assignment | None:
        """Return a trial whose members fit into this many free slots, or None."""

    def report(self, worker: str, name: str, step: int, members: Sequence[Metrics]) -> bool:
        """Record the metrics of a trial's members; return whether the trial goes on."""

    def fail(self, worker: str, name: str, reason: str, traceback: str = "", *, diverged: bool = False) -> None:
        """End a trial that cannot go on, because it diverged or for a reason that is not its own."""

    def give_back(self, worker: str, names: Sequence[str]) -> None:
        """Let others go on with trials that the worker has no room for."""

    def slots(self, width: int, place: str) -> int | None:
        """Return how many slots of a width have been found to fit into the memory of such a place, if fewer do."""

    def limit_slots(self, worker: str, width: int, place: str, slots: int) -> None:
        """Note that no more slots of a width fit."""

    def choice(self, width: int, kind: str) -> dict[str, Any] | None:
        """Return the executor that a width's groups of a kind use (``ExecutorChoice.to_dict``), if it is chosen."""

    def keep_choice(self, kind: str, choice: dict[str, Any]) -> dict[str, Any]:
        """Keep an executor for groups of a kind; return the one to use, which is the first that was kept."""


class TrainingLoop:
    """Trains what the owner hands out until it has no trial left for this group.

    Parameters
    ----------
    worker, owner
        For whom trials are trained; the worker is registered, and has leased the group's width.
    group
        An empty group, whose experiment says how to train.
    folder
        Where the checkpoints lie.
    assigned
        Trials that the owner has handed out already; they are started first, and fit.
    """

    def __init__(
        self,
        worker: str,
        owner: Owner,
        group: TrialGroup,
        folder: StudyFolder,
        assigned: Sequence[Assignment] = (),
    ) -> None:
        experiment = group.workload.experiment
        self._worker, self._owner, self._group = worker, owner, group
        self._training, self._resources, self._search = experiment.training, experiment.resources, experiment.search
        self._folder = folder
        self._trials: list[RunningTrial] = []
        self._assigned = list(assigned)
        self._may_have_room, self._is_compact = True, False
        self._flops_per_step = flops_per_step(group.workload, group.model(0))
        self._num_parameters = sum(parameter.numel() for parameter in group.model(0).parameters())
        self._saved_at = time.monotonic()

    def run(self) -> None:
        """Train until no trial is left."""
        while True:
            if self._may_have_room:
                self._fill()
                self._compact()
            if not self._trials:
                return
            self._step()
            self._validate()
            self._save_in_time()

    def suspend(self) -> list[Assignment]:
        """Save all trials and return them, to be continued in another group.

        A row whose update broke off goes back to its last checkpoint.
        """
        self._save()
        running = [Assignment(trial.name, tuple(m.trial for m in trial.members)) for trial in self._trials]
        return running + self._assigned

    # -- trials come and go -----------------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Start trials in the free slots, as far as the owner gives any."""
        self._may_have_room = False
        while (assignment := self._next()) is not None:
            self._start(RunningTrial(assignment, self._folder))

    def _next(self) -> Assignment | None:
        if self._assigned:
            return self._assigned.pop(0)
        if self._is_compact:
            return None
        return self._owner.ask(self._worker, self._group.width, len(self._group.free_slots))

    def _compact(self) -> None:
        """Shrink the group where the owner has left it so empty that a smaller one does; it is then not filled again.

        Should the owner have trials later on, the worker leases the width once more, with all its slots.
        """
        num_occupied = len(self._group.trials)
        num_slots = num_occupied + len(self._group.free_slots)
        target = compaction_target(num_occupied, num_slots)
        if not num_occupied or target >= num_slots:
            return
        try:
            moved = self._group.compact(target)
        except torch.OutOfMemoryError:
            return  # old and new rows do not fit at once: the old ones stay
        self._is_compact = True
        for member in (member for trial in self._trials for member in trial.members):
            assert member.slot is not None
            member.slot = moved[member.slot]

    def _start(self, trial: RunningTrial) -> None:
        """Begin a trial's members, or go on from their checkpoints."""
        self._trials.append(trial)
        trial.remove_partial_files()
        states = [self._load(trial, member) for member in trial.members]
        # The worker may have died between saving and reporting; a report that did arrive changes nothing.
        if trial.is_over or not self._report(trial):
            return
        slots = self._group.free_slots[: len(states)]
        for member, slot, state in zip(trial.members, slots, states, strict=True):
            with self._blaming(trial, member):
                self._group.start(slot, member.trial, state)
                member.slot = slot
            if trial.is_over:
                return

    def _load(self, trial: RunningTrial, member: Member) -> RowState | None:
        """Return the state that a member goes on from; None if it begins, or if its file is damaged."""
        with self._blaming(trial, member):
            return member.load()
        return None

    def _end(self, trial: RunningTrial) -> None:
        """Take a trial out; only one that completed keeps its checkpoints."""
        for slot in trial.slots:
            self._group.free(slot)
        self._trials.remove(trial)
        trial.is_over = self._may_have_room = True
        if trial.reported_step < self._training.num_steps:
            trial.remove_checkpoints()

    @contextmanager
    def _blaming(self, trial: RunningTrial, member: Member) -> Iterator[None]:
        """Fail a trial whose member raises, with the traceback, so that its neighbours can go on."""
        try:
            yield
        except torch.OutOfMemoryError:
            raise  # it is what all trials of the group did together
        except Exception as error:
            self._fail(trial, member, typed_line(error), traceback.format_exc())

    def _fail(
        self, trial: RunningTrial, member: Member, reason: str, traceback: str = "", *, diverged: bool = False
    ) -> None:
        """Fail a trial for what one of its members did."""
        if trial.is_over:
            return
        whose = f"{member.trial.name}: " if len(trial.members) > 1 else ""
        self._owner.fail(self._worker, trial.name, whose + reason, traceback, diverged=diverged)
        self._end(trial)

    # -- training ---------------------------------------------------------------------------------------------------

    def _step(self) -> None:
        """Let all members step that neither wait for their siblings nor for their validation."""
        ready = {
            member.slot: (trial, member)
            for trial in self._trials
            for member in trial.members
            if member.slot is not None and self._is_ready(trial, member)
        }
        started = time.perf_counter()
        results = self._group.step(ready)
        seconds = time.perf_counter() - started
        for slot, result in results.items():
            _, member = ready[slot]
            member.seconds += seconds / len(results)
            member.losses.append(result.loss)
        for slot, result in results.items():
            if result.failure is not None:
                self._fail(*ready[slot], result.failure, diverged=True)

    def _is_ready(self, trial: RunningTrial, member: Member) -> bool:
        """Whether a member may take its next step."""
        return not trial.is_waiting(member) and not self._is_due(member)

    def _validate(self) -> None:
        """Validate the members that are due, save them, and report trials all of whose members are."""
        for trial in list(self._trials):
            for member in trial.members:
                if not trial.is_over and self._is_due(member):
                    with self._blaming(trial, member):
                        self._measure(member)
            if not trial.is_over:
                self._report(trial)

    def _measure(self, member: Member) -> None:
        """Validate and save a member: saved before it is told, so that no trial ever lacks the state it reported."""
        assert member.slot is not None
        started = time.perf_counter()
        metrics = {f"val/{name}": value for name, value in self._group.evaluate(member.slot).items()}
        member.seconds += time.perf_counter() - started
        step = self._group.own_step(member.slot)
        member.measure(step, metrics, self._flops_per_step, self._num_parameters)
        member.save(self._group)

    def _report(self, trial: RunningTrial) -> bool:
        """Report the steps that all members have measured; return whether the trial goes on."""
        for step in trial.unreported():
            goes_on = self._owner.report(self._worker, trial.name, step, trial.metrics(step))
            trial.reported_step = step
            if not goes_on:
                self._end(trial)
                return False
        return True

    def _is_due(self, member: Member) -> bool:
        """Whether a member stands at a step that asks for a validation, and has not had it."""
        assert member.slot is not None
        step = self._group.own_step(member.slot)
        is_stop = step % self._training.evaluate_every == 0 or step == self._training.num_steps
        return is_stop and step > member.last_measured

    def _save_in_time(self) -> None:
        """Save all members when the last time is long enough ago."""
        interval = self._resources.checkpoint_seconds
        if interval is not None and time.monotonic() - self._saved_at >= interval:
            self._save()
            self._saved_at = time.monotonic()

    def _save(self) -> None:
        """Save the members that have moved on since their last checkpoint."""
        for member in (member for trial in self._trials for member in trial.members):
            if member.slot is None or not self._group.is_whole(member.slot):
                continue
            if self._group.own_step(member.slot) > member.saved_step:
                member.save(self._group)
