"""What a study notes about the groups of each width, so that no worker finds it out again: slots and executors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raytag.search.journal import EXECUTOR, SLOTS, Journal

__all__ = ["GroupNotes"]


class GroupNotes:
    """How the groups of a study's widths are run; kept in its journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def slot_limit(self, width: int, place: str) -> int | None:
        """Return how many slots of a width fit into the memory of a place, if it has ever been too small."""
        limit: int | None = self._journal.notes_of_width(width).get(f"{SLOTS}{place}")
        return limit

    def limit_slots(self, width: int, place: str, slots: int) -> None:
        """Note how many slots of a width fit into the memory of a place; the lowest number stays."""
        slots = min(slots, self.slot_limit(width, place) or slots)
        self._journal.note_of_width(width, f"{SLOTS}{place}", slots)

    def choices(self) -> list[dict[str, Any]]:
        """Return what the groups of all widths are run with (see :meth:`keep_choice`)."""
        notes = [self._journal.notes_of_width(width) for width in self._journal.studies]
        return [of[key] for of in notes for key in sorted(of) if key.startswith(EXECUTOR)]

    def choice(self, width: int, kind: str) -> dict[str, Any] | None:
        """Return what a width's groups of a kind are run with, if it has been chosen."""
        return self._journal.notes_of_width(width).get(f"{EXECUTOR}{kind}")

    def keep_choice(self, kind: str, choice: Mapping[str, Any]) -> dict[str, Any]:
        """Keep what a width's groups of a kind are run with, and return it; the first choice stays.

        It is a :class:`raytag.training.executors.ExecutorChoice` as plain values. A stopwatch made it, so another
        worker may have chosen otherwise; within a study all groups of a kind (number of slots, device, settings) are
        run alike.
        """
        width: int = choice["width"]
        if (kept := self.choice(width, kind)) is None:
            self._journal.note_of_width(width, f"{EXECUTOR}{kind}", dict(choice))
        return kept or dict(choice)
