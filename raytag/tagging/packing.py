"""A minibatch as the tagger reads it: flat tokens, and the rows into which attention gathers them.

Nothing is padded: linear layers run on the N = J + T tokens, one register per jet, then the T tracks; attention on the
rows of :mod:`raytag.tagging.rows`.

Axes: J jets, T tracks, N tokens, P pairs, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from raytag.data.batches import PackedBatch
from raytag.tagging.pairs import Pairs, pair_tracks
from raytag.tagging.rows import Block, Rows, in_classes, lay_out, row_lengths, side_by_side

__all__ = ["NO_FOLD", "Counted", "JetBatch", "RowLayout", "pack", "pack_into"]

RowLayout = Literal["rows", "classes"]

# The fold of a jet that is there to fill up a batch: it counts for nobody. A model that holds out no fold says so too.
NO_FOLD = -1


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

    @property
    def num_registers(self) -> int:
        """The number of tokens that are no tracks; they come first."""
        return len(self.token_jets) - len(self.jet_index)

    def count(self, held_out: Tensor) -> Counted | None:
        """Return what counts in a loss without the jets of fold ``held_out``; None if there are no folds: all does."""
        if self.folds is None:
            return None
        jets = (self.folds != held_out) & (self.folds != NO_FOLD)
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


def pack(batch: PackedBatch, *, with_pairs: bool, layout: RowLayout = "rows") -> JetBatch:
    """Lay out a minibatch; ``with_pairs`` for vertexing, which needs both track labels."""
    lengths = batch.counts.numpy() + 1
    blocks = side_by_side(lengths, row_lengths(lengths)) if layout == "rows" else in_classes(lengths)
    return pack_into(batch, blocks, with_pairs=with_pairs)


def pack_into(batch: PackedBatch, blocks: Sequence[Block], *, with_pairs: bool, num_fillers: int = 0) -> JetBatch:
    """Lay out a minibatch in these blocks of rows, which keep slots for tokens that are filled in behind all others."""
    device, dtype = batch.tracks.device, batch.tracks.dtype
    pairs = None
    if with_pairs:
        assert batch.origins is not None, "vertexing weighs pairs by their origins"
        assert batch.vertices is not None, "vertexing needs truth vertices"
        pairs = pair_tracks(batch.counts, batch.origins, batch.vertices, device, dtype)
    return JetBatch(
        inputs=torch.cat([batch.jets.index_select(0, batch.jet_index), batch.tracks], dim=1),
        jet_index=batch.jet_index,
        token_jets=torch.cat([torch.arange(len(batch.jets), device=device), batch.jet_index]),
        rows=lay_out(batch.counts.numpy(), blocks, device, dtype, num_fillers=num_fillers),
        pairs=pairs,
        jet_labels=batch.jet_labels,
        origins=batch.origins,
        folds=batch.folds,
    )
