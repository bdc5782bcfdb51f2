"""What a file of jets holds: classes, variables with units and ranges, tracks per jet, truth origins.

A file is read block by block, so that one of any size can be looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from raytag.data.h5 import Contents, inspect
from raytag.data.moments import Moments
from raytag.data.schema import JET_LABEL, JETS, ORIGIN_LABEL, TRACKS, UNITS, VALID, Origin
from raytag.errors import DataError, Problem

__all__ = ["Summary", "inspect_labelled", "read_jets", "summarise"]

# Jets decoded at once.
BLOCK_JETS = 20_000
SHOWN_ATTRIBUTE_LENGTH = 90


def summarise(path: Path) -> Summary:
    """Read a file and return its summary, whose ``str`` is meant for a terminal.

    Raises
    ------
    DataError
        If the file is missing or damaged, or has no labelled jets with valid tracks.
    """
    summary = Summary(inspect_labelled(path))
    for jets, tracks in read_jets(summary.contents):
        summary.update(jets, tracks)
    return summary


def inspect_labelled(path: Path) -> Contents:
    """Return what a file holds after checking that it has jets, their classes and a ``valid`` flag of tracks."""
    contents = inspect(path)
    problems = []
    if JET_LABEL not in contents.jet_variables or not contents.class_names:
        problems.append(Problem(JETS, f"no {JET_LABEL} with class names: not a labelled GN2 file.", file=path))
    if VALID not in contents.track_variables:
        problems.append(Problem(TRACKS, f"no variable {VALID}: not a GN2 file.", file=path))
    if not contents.num_jets:
        problems.append(Problem(JETS, "is empty.", file=path))
    if problems:
        raise DataError(problems)
    return contents


def read_jets(contents: Contents, num_jets: int | None = None) -> Iterator[tuple[NDArray[np.void], NDArray[np.void]]]:
    """Yield blocks of jets (J,) and track slots (J, S) in file order, up to ``num_jets``.

    Raises
    ------
    DataError
        If a part of the file cannot be decoded.
    """
    total = min(num_jets or contents.num_jets, contents.num_jets)
    with h5py.File(contents.path) as file:
        for first in range(0, total, BLOCK_JETS):
            rows = slice(first, min(first + BLOCK_JETS, total))
            try:
                yield file[JETS][rows], file[TRACKS][rows]
            except OSError as error:
                message = f"jets from {first:,} on cannot be decoded ({error}). Copy or make the file again."
                raise DataError([Problem("", message, file=contents.path)]) from error


class Summary:
    """Counts and statistics of one file, gathered block by block: C classes; tracks are the valid ones."""

    def __init__(self, contents: Contents) -> None:
        self.contents = contents
        num_classes = len(contents.class_names)
        self.jet_counts = np.zeros(num_classes, dtype=np.int64)
        self.track_counts = np.zeros(num_classes, dtype=np.int64)
        self.trackless_counts = np.zeros(num_classes, dtype=np.int64)
        self.most_tracks = np.zeros(num_classes, dtype=np.int64)
        self.origin_counts = np.zeros((num_classes, len(Origin)), dtype=np.int64)
        self.variables = {
            JETS: {name: _Column(dtype) for name, dtype in contents.jet_variables.items()},
            TRACKS: {name: _Column(dtype) for name, dtype in contents.track_variables.items() if name != VALID},
        }

    def update(self, jets: NDArray[np.void], tracks: NDArray[np.void]) -> None:
        """Take in a block of jets (J,) with their slots (J, S)."""
        valid = tracks[VALID].astype(bool)
        filled = tracks[valid]
        for rows, columns in ((jets, self.variables[JETS]), (filled, self.variables[TRACKS])):
            for name, column in columns.items():
                column.update(rows[name])
        num_tracks = valid.sum(axis=1)
        flavour_of_track = np.repeat(jets[JET_LABEL], num_tracks)
        for flavour in range(len(self.jet_counts)):
            counts = num_tracks[jets[JET_LABEL] == flavour]
            self.jet_counts[flavour] += len(counts)
            self.track_counts[flavour] += counts.sum()
            self.trackless_counts[flavour] += np.count_nonzero(counts == 0)
            self.most_tracks[flavour] = max(self.most_tracks[flavour], counts.max(initial=0))
            if ORIGIN_LABEL in self.contents.track_variables:
                origin = filled[ORIGIN_LABEL][flavour_of_track == flavour]
                self.origin_counts[flavour] += [np.count_nonzero(origin == value) for value in Origin]

    def __str__(self) -> str:
        contents = self.contents
        num_tracks = sum(self.track_counts.tolist())
        slots = contents.num_jets * contents.num_slots
        sections = [
            [
                f"{contents.path}  ({contents.path.stat().st_size / 1e6:.1f} MB)",
                f"{contents.num_jets:,} jets with {num_tracks:,} valid tracks; "
                f"{num_tracks / max(slots, 1):.0%} of the {contents.num_slots} slots a jet are filled",
            ],
            _table([("class", "jets", "share", "tracks per jet", "most", "jets without tracks"), *self._class_rows()]),
        ]
        if self.origin_counts.any():
            names = (origin.name.lower().replace("_", " ") for origin in Origin)
            sections.append(_table([("origin of tracks", *names), *self._origin_rows()]))
        for dataset, what in ((JETS, "jet variable"), (TRACKS, "track variable")):
            head = (what, "unit", "type", "lowest", "highest", "mean", "std", "NaN", "infinite")
            sections.append(_table([head, *_variable_rows(self.variables[dataset])], num_left=3))
        sections.append(_table([("attribute", "value"), *_attributes(contents.path)], num_left=2))
        return "\n\n".join("\n".join(section) for section in sections)

    def _class_rows(self) -> Iterator[tuple[str, ...]]:
        for flavour, name in enumerate(self.contents.class_names):
            jets = int(self.jet_counts[flavour])
            yield (
                name,
                f"{jets:,}",
                f"{jets / max(self.contents.num_jets, 1):.1%}",
                f"{self.track_counts[flavour] / jets:.2f}" if jets else "-",
                f"{self.most_tracks[flavour]}",
                f"{self.trackless_counts[flavour]:,}",
            )

    def _origin_rows(self) -> Iterator[tuple[str, ...]]:
        for name, counts in zip(self.contents.class_names, self.origin_counts, strict=True):
            yield (name, *(f"{count / max(counts.sum(), 1):.1%}" for count in counts))


class _Column:
    """Range and moments of the finite values of a variable, and how many are not finite."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.low, self.high = np.inf, -np.inf
        self.num_nan = self.num_infinite = 0
        self.moments = Moments()

    def update(self, values: NDArray[Any]) -> None:
        """Take in more values; those that are no numbers are left alone."""
        if self.dtype.kind not in "fiub":
            return
        numbers = values.astype(np.float64)
        finite = numbers[np.isfinite(numbers)]
        self.num_nan += int(np.isnan(numbers).sum())
        self.num_infinite += int(np.isinf(numbers).sum())
        self.low = min(self.low, finite.min(initial=np.inf))
        self.high = max(self.high, finite.max(initial=-np.inf))
        self.moments.update(finite)


def _variable_rows(columns: Mapping[str, _Column]) -> Iterator[tuple[str, ...]]:
    for name, column in columns.items():
        numbers = (column.low, column.high, column.moments.mean, column.moments.std)
        yield (
            name,
            UNITS.get(name, ""),
            str(column.dtype),
            *(f"{number:.4g}" if np.isfinite(column.low) else "-" for number in numbers),
            *(f"{count:,}" if count else "-" for count in (column.num_nan, column.num_infinite)),
        )


def _attributes(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the attributes of the file and of its datasets, long values cut."""
    with h5py.File(path) as file:
        for prefix, owner in (("", file), (f"{JETS}.", file[JETS]), (f"{TRACKS}.", file[TRACKS])):
            for name, value in owner.attrs.items():
                text = ", ".join(map(str, value)) if isinstance(value, np.ndarray) else str(value)
                is_long = len(text) > SHOWN_ATTRIBUTE_LENGTH
                yield prefix + name, text[:SHOWN_ATTRIBUTE_LENGTH] + ("..." if is_long else "")


def _table(rows: Sequence[tuple[str, ...]], num_left: int = 1) -> list[str]:
    """Align columns: the first ones to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if index < num_left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
