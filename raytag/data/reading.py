"""Jets of a GN2 h5 file, block by block, with the valid tracks only.

It reads what a :class:`Selection` names and trusts it; whether a file fits is :mod:`raytag.data.h5`'s question, whether
its values are sound :mod:`raytag.data.values`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from raytag.data.schema import EVENT_NUMBER, JET_LABEL, JETS, ORIGIN_LABEL, TRACKS, VALID, VERTEX_LABEL
from raytag.errors import DataError, Problem

__all__ = ["Block", "Selection", "read_blocks"]

# Jets decoded at once: 4,096 jets of 40 slots are 10 MB, and larger blocks were not faster.
BLOCK_JETS = 4096


@dataclass(frozen=True)
class Selection:
    """What is read from one file: its first jets, these inputs, these truth labels of the tracks."""

    path: Path
    num_jets: int
    jet_variables: tuple[str, ...]
    track_variables: tuple[str, ...]
    track_labels: tuple[str, ...]
    class_names: tuple[str, ...]
    has_events: bool  # whether it says which event each jet is from


@dataclass(frozen=True)
class Block:
    """Consecutive jets with their valid tracks, in file order: J jets with T tracks in all.

    Inputs are as in the file, not standardised. A label that was not selected is None.
    """

    first_jet: int
    jets: NDArray[np.float32]  # (J, Fj)
    tracks: NDArray[np.float32]  # (T, Ft)
    counts: NDArray[np.int64]  # (J,) valid tracks of each jet
    labels: NDArray[np.int64]  # (J,)
    events: NDArray[np.int64] | None  # (J,) event numbers; None if the file has none
    origins: NDArray[np.int64] | None  # (T,)
    vertices: NDArray[np.int64] | None  # (T,)


def read_blocks(selection: Selection) -> Iterator[Block]:
    """Yield the selected jets in file order.

    Raises
    ------
    DataError
        A part of the file cannot be decoded.
    """
    with h5py.File(selection.path) as file:
        for first in range(0, selection.num_jets, BLOCK_JETS):
            rows = slice(first, min(first + BLOCK_JETS, selection.num_jets))
            try:
                jets, tracks = file[JETS][rows], file[TRACKS][rows]
            except OSError as error:
                raise DataError([_undecodable(selection.path, rows, error)]) from error
            yield _pack(selection, first, jets, tracks)


def _undecodable(path: Path, rows: slice, error: OSError) -> Problem:
    message = f"jets {rows.start} to {rows.stop - 1} cannot be decoded ({error}). Copy or make the file again."
    return Problem("", message, file=path)


def _pack(selection: Selection, first_jet: int, jets: NDArray[np.void], tracks: NDArray[np.void]) -> Block:
    valid = tracks[VALID].astype(bool)
    kept = tracks[valid]  # row by row: sorted by jet, a jet's tracks in their order
    return Block(
        first_jet=first_jet,
        jets=_columns(jets, selection.jet_variables),
        tracks=_columns(kept, selection.track_variables),
        counts=valid.sum(axis=1, dtype=np.int64),
        labels=jets[JET_LABEL].astype(np.int64),
        events=jets[EVENT_NUMBER].astype(np.int64) if selection.has_events else None,
        origins=kept[ORIGIN_LABEL].astype(np.int64) if ORIGIN_LABEL in selection.track_labels else None,
        vertices=kept[VERTEX_LABEL].astype(np.int64) if VERTEX_LABEL in selection.track_labels else None,
    )


def _columns(rows: NDArray[np.void], variables: Sequence[str]) -> NDArray[np.float32]:
    matrix = np.empty((len(rows), len(variables)), dtype=np.float32)
    with np.errstate(over="ignore"):  # a value beyond float32 becomes inf, which the value check reports
        for column, variable in enumerate(variables):
            matrix[:, column] = rows[variable]
    return matrix
