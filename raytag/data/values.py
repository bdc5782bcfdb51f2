"""What may be wrong with the values of a file, gathered block by block and reported all at once.

The same check runs in ``raytag validate`` over the first jets and over every jet while the cache is built.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raytag.data.reading import Block, Selection
from raytag.data.schema import JET_LABEL, JETS, ORIGIN_LABEL, TRACKS, Origin
from raytag.errors import Problem

__all__ = ["ValueCheck"]


@dataclass
class _Fault:
    """How often something is wrong, and in which jet first."""

    count: int
    first_jet: int


class ValueCheck:
    """NaN and infinite inputs, labels out of range and classes without jets of one file."""

    def __init__(self, selection: Selection, *, needs_every_class: bool) -> None:
        self._selection = selection
        self._needs_every_class = needs_every_class
        self._faults: dict[tuple[str, str, str], _Fault] = {}
        self._class_sizes = np.zeros(len(selection.class_names), dtype=np.int64)
        self._num_jets = 0
        self._num_tracks = 0

    def add(self, block: Block) -> None:
        """Look at the next block of the file."""
        selection = self._selection
        jet = np.arange(block.first_jet, block.first_jet + len(block.counts))
        jet_of_track = np.repeat(jet, block.counts)
        self._look_for_non_finite(JETS, selection.jet_variables, block.jets, jet)
        self._look_for_non_finite(TRACKS, selection.track_variables, block.tracks, jet_of_track)
        self._look_for_strange_labels(JETS, JET_LABEL, block.labels, jet, len(selection.class_names))
        if block.origins is not None:
            self._look_for_strange_labels(TRACKS, ORIGIN_LABEL, block.origins, jet_of_track, len(Origin))
        for label in range(len(self._class_sizes)):
            self._class_sizes[label] += np.count_nonzero(block.labels == label)
        self._num_jets += len(jet)
        self._num_tracks += len(jet_of_track)

    def problems(self) -> list[Problem]:
        """Everything that was found so far."""
        path = self._selection.path
        found = [
            Problem(dataset, _sentence(dataset, variable, what, fault), file=path)
            for (dataset, variable, what), fault in self._faults.items()
        ]
        return found + self._absences() if self._num_jets == self._selection.num_jets else found

    def _absences(self) -> list[Problem]:
        """Report what a part of the file could not tell: that a class has no jet, or no jet a track."""
        path, jets = self._selection.path, f"the {self._num_jets:,} jets"
        found = []
        if self._num_tracks == 0:
            found.append(Problem(TRACKS, f"none of {jets} has a valid track.", file=path))
        if self._needs_every_class:
            found += [
                Problem(JETS, f"class {name} ({JET_LABEL} {label}) has none of {jets}.", file=path)
                for label, name in enumerate(self._selection.class_names)
                if self._class_sizes[label] == 0
            ]
        return found

    def _look_for_non_finite(
        self, dataset: str, variables: tuple[str, ...], values: NDArray[np.float32], jet: NDArray[np.int64]
    ) -> None:
        finite = np.isfinite(values)
        if finite.all():
            return
        for column in np.flatnonzero(~finite.all(axis=0)):
            self._record(dataset, variables[column], "is NaN or infinite", jet[~finite[:, column]])

    def _look_for_strange_labels(
        self, dataset: str, variable: str, labels: NDArray[np.int64], jet: NDArray[np.int64], num_classes: int
    ) -> None:
        strange = (labels < 0) | (labels >= num_classes)
        if strange.any():
            self._record(dataset, variable, f"is outside 0 to {num_classes - 1}", jet[strange])

    def _record(self, dataset: str, variable: str, what: str, jet: NDArray[np.int64]) -> None:
        fault = self._faults.setdefault((dataset, variable, what), _Fault(0, int(jet[0])))
        fault.count += len(jet)


def _sentence(dataset: str, variable: str, what: str, fault: _Fault) -> str:
    if dataset == JETS:
        noun = "jet" if fault.count == 1 else "jets"
        return f"{variable} {what} in {fault.count:,} {noun}, first in jet {fault.first_jet}."
    noun = "valid track" if fault.count == 1 else "valid tracks"
    return f"{variable} {what} for {fault.count:,} {noun}, first in jet {fault.first_jet}."
