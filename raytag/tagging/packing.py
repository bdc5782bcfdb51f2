"""A minibatch as the tagger reads it: flat tokens, and the rows into which attention gathers them.

Nothing is padded: linear layers run on the N = T + J tokens, the T tracks followed by one register per jet. Attention
needs matrices, so it lays the jets side by side in R rows of W slots; jets of a row do not see each other. The rows are
as long as the batch's longest jet, at least MIN_ROW_LENGTH; 96 to 99 % of their slots hold a token. For simulated ttbar
jets attention forward and backward then takes half the CPU time that it takes on 4, 8 or one length class per track
count, because there are fewer and larger matrix products.

Axes: J jets, T tracks, N tokens, F features, R rows, W slots of a row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raytag.data.batches import PackedBatch
from raytag.tagging.pairs import Pairs, pair_tracks

__all__ = ["Counted", "JetBatch", "Rows", "fill_rows", "pack"]

# Shorter rows make too many small products, longer ones too many masked logits: a step at width 32 was equally fast
# with 16 to 24 slots and 6 to 15 % slower with 32.
MIN_ROW_LENGTH = 20


@dataclass(frozen=True)
class Rows:
    """Where each token sits in the (R, W) slots of the attention."""

    slots: Tensor  # (N,) int64
    mask: Tensor  # (R, 1, W, W) added to the logits: 0 within a jet, -inf elsewhere

    def spread(self, tokens: Tensor) -> Tensor:
        """Lay (N, D) tokens into slots, (R, W, D); empty slots are 0."""
        num_rows, length = self.mask.shape[0], self.mask.shape[-1]
        slots = tokens.new_zeros(num_rows * length, tokens.shape[-1]).index_copy(0, self.slots, tokens)
        return slots.view(num_rows, length, -1)

    def collect(self, slots: Tensor) -> Tensor:
        """Take the (N, D) tokens out of (R, W, D) slots."""
        return slots.flatten(0, 1).index_select(0, self.slots)


@dataclass(frozen=True)
class JetBatch:
    """J jets with everything about them that no model changes: inputs, layout and truth."""

    inputs: Tensor  # (T, F) jet variables, then track variables
    jet_index: Tensor  # (T,) int64, jet of each track
    token_jets: Tensor  # (N,) int64, jet of each token
    rows: Rows
    pairs: Pairs | None
    jet_labels: Tensor  # (J,) int64
    origins: Tensor | None  # (T,) int64
    folds: Tensor | None = None  # (J,) int64

    @property
    def num_jets(self) -> int:
        """J."""
        return len(self.jet_labels)

    def count(self, held_out: Tensor) -> Counted | None:
        """Return what counts in a loss without the jets of fold ``held_out``; None if there are no folds: all does."""
        if self.folds is None:
            return None
        jets = self.folds != held_out
        tracks = jets.index_select(0, self.jet_index)
        return Counted(jets, tracks, None if self.pairs is None else tracks.index_select(0, self.pairs.first))


@dataclass(frozen=True)
class Counted:
    """Which jets count, with their tracks and pairs: (J,), (T,) and (P,) booleans."""

    jets: Tensor
    tracks: Tensor
    pairs: Tensor | None

    def blank(self, batch: JetBatch) -> JetBatch:
        """Return the batch with inputs of 0 where nothing counts: what nobody may learn from is not even seen."""
        return replace(batch, inputs=torch.where(self.tracks[:, None], batch.inputs, 0))


def pack(batch: PackedBatch, *, with_pairs: bool) -> JetBatch:
    """Lay out a minibatch; ``with_pairs`` for vertexing, which needs both track labels."""
    device, dtype = batch.tracks.device, batch.tracks.dtype
    pairs = None
    if with_pairs:
        assert batch.origins is not None, "vertexing weighs pairs by their origins"
        assert batch.vertices is not None, "vertexing needs truth vertices"
        pairs = pair_tracks(batch.counts, batch.origins, batch.vertices, device, dtype)
    return JetBatch(
        inputs=torch.cat([batch.jets.index_select(0, batch.jet_index), batch.tracks], dim=1),
        jet_index=batch.jet_index,
        token_jets=torch.cat([batch.jet_index, torch.arange(len(batch.jets), device=device)]),
        rows=_lay_rows(batch.counts.numpy(), device, dtype),
        pairs=pairs,
        jet_labels=batch.jet_labels,
        origins=batch.origins,
        folds=batch.folds,
    )


def fill_rows(lengths: NDArray[np.int64], capacity: int) -> tuple[NDArray[np.int64], int]:
    """Pack sequences into rows, longest first, each into the fullest row that still takes it.

    Returns
    -------
    starts
        (J,) first slot of each sequence, counted through all rows.
    num_rows
        Number of rows.
    """
    starts = np.empty_like(lengths)
    rows_by_space: list[list[int]] = [[] for _ in range(capacity + 1)]
    num_rows = 0
    for sequence in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[sequence])
        space = next((space for space in range(length, capacity + 1) if rows_by_space[space]), None)
        if space is None:
            row, space, num_rows = num_rows, capacity, num_rows + 1
        else:
            row = rows_by_space[space].pop()
        starts[sequence] = row * capacity + capacity - space
        rows_by_space[space - length].append(row)
    return starts, num_rows


def _lay_rows(counts: NDArray[np.int64], device: torch.device, dtype: torch.dtype) -> Rows:
    """Give every token a slot: a jet's tracks in their order, then its register."""
    lengths = counts + 1
    row_length = max(MIN_ROW_LENGTH, int(lengths.max()))
    starts, num_rows = fill_rows(lengths, row_length)
    nth_track = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    slots = np.concatenate([np.repeat(starts, counts) + nth_track, starts + counts])
    # An empty slot is a jet of its own: it sees itself, or its softmax would be 0/0.
    occupants = -1 - np.arange(num_rows * row_length)
    occupants[slots] = np.concatenate([np.repeat(np.arange(len(counts)), counts), np.arange(len(counts))])
    jets = occupants.reshape(num_rows, row_length)
    mask = np.where(jets[:, :, None] == jets[:, None, :], 0.0, -np.inf)[:, None]
    return Rows(torch.from_numpy(slots).to(device), torch.from_numpy(mask).to(device, dtype))
