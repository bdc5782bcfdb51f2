"""Minibatches filled up to a few shapes, so that code compiled for one, or a CUDA graph, serves many batches.

A filled batch has one jet more. Its tracks, the fillers, have inputs of 0, come last and sit alone in slots that
attention leaves free; its pairs are all one, which weighs 0. It is in no fold, so it counts in no loss
(:meth:`raytag.tagging.packing.JetBatch.count`): losses and gradients are those of the other jets.

Axes: J jets, T tracks, P pairs, R rows of a block, W slots of a row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from raytag.data.batches import PackedBatch
from raytag.tagging.packing import NO_FOLD, JetBatch, pack_into
from raytag.tagging.pairs import Pairs
from raytag.tagging.rows import Block, row_lengths, side_by_side

__all__ = ["StaticShapes"]

# Rows of ttbar jets are filled to 97 to 99 %; a batch that does worse gets the next shape, which expects 0.95², ....
FILLED = 0.95


@dataclass(frozen=True)
class Shape:
    """What must repeat from batch to batch: T, P, and the R of each block."""

    num_tracks: int
    num_pairs: int
    num_rows: tuple[int, ...]

    def takes(self, counts: NDArray[np.int64], blocks: Sequence[Block]) -> bool:
        """Whether it has room for jets with these tracks, one filler at least, and these blocks."""
        has_room = counts.sum() < self.num_tracks and (counts * (counts - 1)).sum() <= self.num_pairs
        return bool(has_room and all(b.num_rows <= rows for b, rows in zip(blocks, self.num_rows, strict=True)))


class StaticShapes:
    """The shapes of batches of J jets drawn from a table: what they need on average and 2, 4, 8, ... deviations more.

    Of ten batches about nine fit the first shape, and nearly all the others the second. Each expects less full rows
    than the one before: jets that fill two thirds of a row each would else find none.

    Parameters
    ----------
    counts
        Tracks of each jet of the table.
    num_jets
        J.
    """

    def __init__(self, counts: NDArray[np.int64], num_jets: int) -> None:
        self._num_jets = num_jets
        self._row_lengths = row_lengths(counts + 1)
        is_long = counts >= self._row_lengths[0]
        needs = np.stack([counts, counts * (counts - 1), np.where(is_long, 0, counts + 1), is_long])
        self._mean, self._deviation = num_jets * needs.mean(1), math.sqrt(num_jets) * needs.std(1)

    def pack(self, batch: PackedBatch, *, with_pairs: bool) -> JetBatch:
        """Lay out a minibatch in the smallest shape that takes it; see :func:`raytag.tagging.packing.pack`."""
        counts = batch.counts.numpy()
        blocks = side_by_side(counts + 1, self._row_lengths)
        shape = next(shape for shape in map(self._shape, count(1)) if shape.takes(counts, blocks))
        grown = [replace(block, num_rows=rows) for block, rows in zip(blocks, shape.num_rows, strict=True)]
        packed = pack_into(batch, grown, with_pairs=with_pairs, num_fillers=shape.num_tracks - int(counts.sum()))
        return _fill_up(packed, shape)

    def _shape(self, exponent: int) -> Shape:
        needs = np.ceil(self._mean + 2**exponent * self._deviation)
        tracks, pairs, short_tokens, long_jets = needs.astype(int).tolist()
        num_tokens = self._num_jets + tracks + 1
        short, *long = self._row_lengths
        # No two long jets share a row, for the worst case is no rarer.
        free_tokens = num_tokens - sum(length * long_jets for length in long)
        short_rows = math.ceil(max(short_tokens / FILLED**exponent, free_tokens) / short)
        return Shape(tracks + 1, pairs, (short_rows, *(long_jets for _ in long)))


def _fill_up(batch: JetBatch, shape: Shape) -> JetBatch:
    """Add the filler jet to a batch whose rows have room for it."""
    num_jets, num_fillers = batch.num_jets, shape.num_tracks - len(batch.jet_index)
    folds = batch.jet_labels.new_zeros(num_jets) if batch.folds is None else batch.folds
    return replace(
        batch,
        inputs=functional.pad(batch.inputs, (0, 0, 0, num_fillers)),
        jet_index=_extend(batch.jet_index, num_fillers, num_jets),
        token_jets=_extend(batch.token_jets, num_fillers, num_jets),
        pairs=None if batch.pairs is None else _fill_up_pairs(batch.pairs, shape),
        jet_labels=_extend(batch.jet_labels, 1, 0),
        origins=None if batch.origins is None else _extend(batch.origins, num_fillers, 0),
        folds=_extend(folds, 1, NO_FOLD),
    )


def _fill_up_pairs(pairs: Pairs, shape: Shape) -> Pairs:
    """Pair the last filler with itself."""
    missing, filler = shape.num_pairs - len(pairs.first), shape.num_tracks - 1
    return Pairs(
        first=_extend(pairs.first, missing, filler),
        second=_extend(pairs.second, missing, filler),
        is_match=_extend(pairs.is_match, missing, 0),
        weights=_extend(pairs.weights, missing, 0),
    )


def _extend(values: Tensor, number: int, value: int) -> Tensor:
    return functional.pad(values, (0, number), value=value)
