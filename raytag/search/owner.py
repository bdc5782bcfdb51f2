"""The owner of the study: the one process that writes it, and that knows which worker trains which trial.

A plain class; :mod:`raytag.search.driver` makes it a Ray actor on its own node. Workers ask it for trials and report to
it; a worker that dies leaves its trials here, to be handed out again with their checkpoints.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from raytag.config.experiment import Experiment
from raytag.config.space import SearchSpace
from raytag.records import TrialRecord
from raytag.search.folder import StudyFolder, exclusive
from raytag.search.members import Assignment, Metrics
from raytag.search.study import Study

__all__ = ["MAX_LOSSES", "Snapshot", "StudyOwner"]

MAX_LOSSES = 3  # workers that may die under a trial without a step in between before it is called the culprit
LOCK_SECONDS = 30  # for the owner of a killed driver to notice that it is alone, and to die


@dataclass(frozen=True)
class Snapshot:
    """What changed in the study since a version, for those who watch it.

    ``to_ask`` is how many trials of each width can be asked for now; ``notes`` are lines for the terminal.
    """

    version: int
    records: list[TrialRecord]
    workers: int
    to_ask: dict[int, int]
    notes: list[str]


class StudyOwner:
    """Hand out the trials of a study and record what becomes of them.

    Parameters
    ----------
    folder, experiment, space
        The study, which must be locked by the driver.
    num_workers
        How many workers will share the work.
    """

    def __init__(self, folder: StudyFolder, experiment: Experiment, space: SearchSpace, num_workers: int) -> None:
        self._lock = ExitStack()  # held until the process ends: the owner of a killed driver dies a moment later
        self._lock.enter_context(
            exclusive(folder.owner_lock, f"{folder.path}: another search writes here", LOCK_SECONDS)
        )
        self._study = Study.open(folder, experiment, space)
        self._num_workers = num_workers
        self._waiting = {width: self._study.unfinished(width) for width in self._study.widths}
        self._held: dict[str, set[str]] = {}  # worker → names of its trials
        self._width: dict[str, int] = {}  # worker → leased width
        self._version = 0
        self._notes: list[tuple[int, str]] = []  # version and text
        self._changed = {record.name: 0 for record in self._study.records()}  # name → version of its last change

    # -- for workers ------------------------------------------------------------------------------------------------

    def register(self, worker: str) -> None:
        """Announce a worker that starts; trials that an earlier incarnation of it left are free again."""
        self.release(worker, "the worker died")
        self._held[worker] = set()

    def lease(self, worker: str) -> int | None:
        """Return the width that the worker should train next, or None when no trial can begin now.

        It is the width with the most work left per worker on it, where a trial's work counts as its width; of equal
        ones the widest, so that the longest trials do not come last.
        """
        self._width.pop(worker, None)
        on_width = Counter(self._width.values())
        left = {width: len(self._waiting[width]) + self._study.num_to_ask(width) for width in self._study.widths}
        work = {width: width * num / (1 + on_width[width]) for width, num in left.items() if num}
        if not work:
            return None
        self._width[worker] = max(work, key=lambda width: (work[width], width))
        return self._width[worker]

    def is_over(self) -> bool:
        """Tell whether nothing will be left to lease any more.

        Under lr_grid what a width wants next depends on its trials that are still in training elsewhere.
        """
        return self._study.experiment.search.sampler != "lr_grid" or self.num_unfinished() == 0

    def ask(self, worker: str, width: int, num_free: int) -> Assignment | None:
        """Return a trial for the worker's free slots, or None if it should not take another one now.

        A trial is handed out only if all its members fit. Trials left by a dead worker come first. Towards the end a
        worker gets no more than its fair share of the unfinished trials, so that none trains the last ones alone. A
        trial whose next loss would be its last is trained alone, so that it fails for what it does itself and not for a
        neighbour.
        """
        if num_free < self._study.experiment.search.num_members:
            return None
        held = self._held[worker]
        if len(held) >= self._fair_share() or any(map(self._is_suspect, held)):
            return None
        waiting = [name for name in self._waiting[width] if not (held and self._is_suspect(name))]
        if waiting:
            name = waiting[0]
            self._waiting[width].remove(name)
        elif self._study.num_to_ask(width):
            name = self._study.ask(width)
        else:
            return None
        return self._hand_out(worker, name)

    def report(self, worker: str, name: str, step: int, members: Sequence[Metrics]) -> bool:
        """Record the metrics of all members of a trial the worker holds; return whether the trial goes on."""
        goes_on = name in self._held[worker] and self._study.report(name, step, members)
        if not goes_on:
            self._held[worker].discard(name)
        self._touch(name)
        return goes_on

    def fail(self, worker: str, name: str, reason: str, traceback: str = "", *, diverged: bool = False) -> None:
        """End a trial that cannot go on (see :meth:`Study.fail`)."""
        self._held[worker].discard(name)
        self._study.fail(name, reason, traceback, diverged=diverged)
        self._touch(name)

    def give_back(self, worker: str, names: Sequence[str]) -> None:
        """Free trials of a worker that has no room for them; it counts as no loss."""
        for name in names:
            self._held[worker].remove(name)
            self._waiting[self._study.record(name).width].append(name)

    def slots(self, width: int, place: str) -> int | None:
        """Return how many slots of a width have been found to fit into the memory of such a place, if fewer do."""
        return self._study.groups.slot_limit(width, place)

    def limit_slots(self, worker: str, width: int, place: str, slots: int) -> None:
        """Note that no more slots of a width fit into the memory of such a place."""
        self._study.groups.limit_slots(width, place, slots)
        self._say(f"{worker} ran out of memory at width {width}: it goes on with {slots} slots ({place})")

    def choice(self, width: int, kind: str) -> dict[str, Any] | None:
        """See :meth:`GroupNotes.choice`."""
        return self._study.groups.choice(width, kind)

    def keep_choice(self, kind: str, choice: dict[str, Any]) -> dict[str, Any]:
        """See :meth:`GroupNotes.keep_choice`."""
        return self._study.groups.keep_choice(kind, choice)

    def release(self, worker: str, reason: str) -> None:
        """Free the trials of a worker that is gone; one that has lost too many workers fails."""
        for name in sorted(self._held.pop(worker, ())):
            losses = self._study.count_loss(name)
            if losses >= MAX_LOSSES:
                head, _, tail = reason.partition("\n")
                self._study.fail(name, f"{losses} workers died while they trained it; the last: {head}", tail)
            else:
                self._waiting[self._study.record(name).width].append(name)
            self._touch(name)
        self._width.pop(worker, None)

    # -- for the driver ---------------------------------------------------------------------------------------------

    def snapshot(self, since: int = -1) -> Snapshot:
        """Return the trials that changed after a version; without one, all of them."""
        names = [name for name, version in self._changed.items() if version > since]
        notes = [text for version, text in self._notes if version > since]
        records = [self._study.record(name) for name in names]
        to_ask = {width: self._study.num_to_ask(width) for width in self._study.widths}
        return Snapshot(self._version, records, len(self._held), to_ask, notes)

    def num_unfinished(self) -> int:
        """See :meth:`Study.num_left`."""
        return self._study.num_left()

    def annotate(self, key: str, value: object) -> None:
        """Set a user attribute of the study."""
        self._study.annotate(key, value)

    def process(self) -> int:
        """Return the owner's process id."""
        return os.getpid()

    # -- inside -----------------------------------------------------------------------------------------------------

    def _hand_out(self, worker: str, name: str) -> Assignment:
        self._held[worker].add(name)
        self._study.assign(name, worker)
        self._touch(name)
        return Assignment(name, self._study.members(name))

    def _is_suspect(self, name: str) -> bool:
        return self._study.num_losses(name) == MAX_LOSSES - 1

    def _fair_share(self) -> int:
        return math.ceil(self.num_unfinished() / self._num_workers)

    def _say(self, text: str) -> None:
        self._version += 1
        self._notes.append((self._version, text))

    def _touch(self, name: str) -> None:
        self._version += 1
        self._changed[name] = self._version
