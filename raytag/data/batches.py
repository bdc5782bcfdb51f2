"""Minibatches of packed jets: flat valid tracks with the index of their jet, never a padded slot.

Axes: J jets, T tracks, F features.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raytag.data.cache import JetTable

__all__ = ["BatchStream", "PackedBatch", "sequential"]

_NUMPY_TYPES: dict[torch.dtype, type[np.floating[Any]]] = {torch.float32: np.float32, torch.float64: np.float64}
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class PackedBatch:
    """J jets with their T valid tracks, sorted by jet. A jet without tracks is legal.

    ``counts`` stays on the CPU, where the layout of a batch is decided; the rest lies on the batch's device.
    """

    jets: Tensor  # (J, Fj) standardised
    tracks: Tensor  # (T, Ft) standardised
    counts: Tensor  # (J,) int64, tracks of each jet
    jet_index: Tensor  # (T,) int64, the row in ``jets`` of each track's jet
    jet_labels: Tensor  # (J,) int64
    origins: Tensor | None  # (T,) int64
    vertices: Tensor | None  # (T,) int64
    folds: Tensor | None = None  # (J,) int64


class BatchStream:
    """The shuffled training batches of a table, as a pure function of (seed, step).

    Epoch e visits the jets in an order drawn from (seed, e); its last ``len(table) % batch_size`` jets are dropped.
    With several ranks the batches are those of one rank, and rank r takes every ``world_size``-th jet from the r-th on.

    Parameters
    ----------
    batch_size
        Jets in a batch, over all ranks.
    dtype
        Type of the inputs, float32 or float64.
    """

    def __init__(
        self,
        table: JetTable,
        batch_size: int,
        seed: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device = _CPU,
        *,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        assert 0 < batch_size <= len(table), f"a batch of {batch_size} jets out of {len(table)}"
        assert 0 <= rank < world_size <= batch_size, f"rank {rank} of {world_size}"
        self._table, self._batch_size, self._seed = table, batch_size, seed
        self._dtype, self._device = dtype, device
        self._rank, self._world_size = rank, world_size

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return len(self._table) // self._batch_size

    def jets(self, step: int) -> NDArray[np.int64]:
        """Return the table rows of this rank's jets at a step, counted from 0."""
        epoch, position = divmod(step, self.steps_per_epoch)
        first = position * self._batch_size
        batch = _epoch_order(len(self._table), self._seed, epoch)[first : first + self._batch_size]
        return batch[self._rank :: self._world_size]

    def batch(self, step: int) -> PackedBatch:
        """Return this rank's jets of a step."""
        return _gather(self._table, self.jets(step), self._dtype, self._device)


def sequential(
    table: JetTable,
    batch_size: int,
    dtype: torch.dtype = torch.float32,
    device: torch.device = _CPU,
    *,
    jets: NDArray[np.int64] | None = None,
) -> Iterator[PackedBatch]:
    """Walk once through a table in file order, or through these rows of it; the last batch may be short."""
    rows = np.arange(len(table)) if jets is None else jets
    for first in range(0, len(rows), batch_size):
        yield _gather(table, rows[first : first + batch_size], dtype, device)


# Trials in the slots of a group may be in different epochs; an order takes 8 bytes per jet.
@lru_cache(maxsize=4)
def _epoch_order(num_jets: int, seed: int, epoch: int) -> NDArray[np.int64]:
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(epoch,))))
    order = generator.permutation(num_jets)
    order.setflags(write=False)
    return order


def _gather(table: JetTable, jets: NDArray[np.int64], dtype: torch.dtype, device: torch.device) -> PackedBatch:
    """Copy the rows of these jets and of their tracks out of the map, standardised, onto the device."""
    starts = table.offsets[jets]
    counts = table.offsets[jets + 1] - starts
    # row of track t: the start of its jet, plus its number within the jet
    rows = np.arange(counts.sum()) + np.repeat(starts - (np.cumsum(counts) - counts), counts)
    float_type = _NUMPY_TYPES[dtype]

    def place(values: NDArray[Any]) -> Tensor:
        tensor = torch.from_numpy(values)
        # from pinned memory the copy overlaps with the work already queued on the GPU
        return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)

    def labels(values: NDArray[np.int32], index: NDArray[np.int64]) -> Tensor:
        return place(values[index].astype(np.int64))

    return PackedBatch(
        jets=place(table.jet_scaling.standardise(table.jets[jets], float_type)),
        tracks=place(table.track_scaling.standardise(table.tracks.take(rows, axis=0), float_type)),
        counts=torch.from_numpy(counts),
        jet_index=place(np.repeat(np.arange(len(jets)), counts)),
        jet_labels=labels(table.labels, jets),
        origins=None if table.origins is None else labels(table.origins, rows),
        vertices=None if table.vertices is None else labels(table.vertices, rows),
        folds=None if table.folds is None else place(table.folds[jets]),
    )
