"""The owner of a study whose trials are trained in populations (population-based training).

Trials number 0 to P - 1 of a width are its first population, the next P its second, and so on. A worker leases a whole
population, because all its trials must be there when a generation ends.
"""

from __future__ import annotations

from raytag.config.experiment import Experiment
from raytag.config.space import SearchSpace
from raytag.records import Move
from raytag.search.folder import StudyFolder
from raytag.search.members import Assignment
from raytag.search.owner import StudyOwner

__all__ = ["PopulationOwner"]


class PopulationOwner(StudyOwner):
    """Hand out populations; otherwise see :class:`StudyOwner`."""

    def __init__(self, folder: StudyFolder, experiment: Experiment, space: SearchSpace, num_workers: int) -> None:
        super().__init__(folder, experiment, space, num_workers)
        self._leases: dict[str, tuple[int, int]] = {}  # worker → width and number of its population

    def lease(self, worker: str) -> int | None:
        """Return the width of the next population, the widest first, or None; all its trials are the worker's."""
        self._leases.pop(worker, None)
        taken = set(self._leases.values())
        for width in reversed(self._study.widths):
            for population in range(self._study.num_populations):
                if (width, population) not in taken and self._study.open_population(width, population):
                    self._leases[worker] = width, population
                    return width
        return None

    def ask(self, worker: str, width: int, num_free: int) -> Assignment | None:
        """Return the next trial of the worker's population that is not finished and not yet handed out."""
        assert self._leases[worker][0] == width, f"{worker} asks for width {width}"
        held = self._held[worker]
        waiting = [name for name in self._study.open_population(*self._leases[worker]) if name not in held]
        if not waiting or not num_free:
            return None
        return self._hand_out(worker, waiting[0])

    def evolve(self, worker: str, step: int) -> dict[str, Move]:
        """Return who of the worker's population goes on from whom after a generation; asked again, the same."""
        moves = self._study.evolve(*self._leases[worker], step)
        for name in moves:
            self._touch(name)
        return moves

    def release(self, worker: str, reason: str) -> None:
        """Free the trials of a worker that is gone, and its population."""
        super().release(worker, reason)
        self._leases.pop(worker, None)
