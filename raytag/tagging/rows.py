"""Where attention finds the tokens of each jet: in blocks of rows, whose other slots are masked.

Attention needs matrices. Two layouts make them, and give the same result. *Side by side* lays several jets into a row;
jets of a row do not see each other. Most jets share short rows, and the few that are longer get rows as long as the
longest of all: 95 to 99 % of the slots then hold a token. *In classes* gives each jet a row of its own, in a few blocks
of similar length. docs/design.md says which is faster where.

Axes: J jets, T tracks, N = J + T tokens, R rows of a block, W slots of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Block", "Rows", "fill_rows", "in_classes", "lay_out", "row_lengths", "side_by_side"]

# Shorter rows make too many small products, longer ones too many masked logits: see row_lengths.
MIN_ROW_LENGTH = 16
# A second block costs a few kernel calls: it must spare a tenth of the logits.
MAX_LOGITS_LEFT = 0.9
# Of 2, 4 and 8 length classes, 4 and 8 were equally fast on ttbar jets.
NUM_CLASSES = 4

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """The slot of each token, counted through all blocks, and the mask of each block."""

    slots: Tensor  # (N,) int64
    masks: tuple[Tensor, ...]  # (R, 1, W, W) each, added to the logits: 0 within a jet, -inf elsewhere

    def spread(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """Lay (N, D) tokens into slots, (R, W, D) for each block; empty slots are 0."""
        sizes = [mask.shape[0] * mask.shape[-1] for mask in self.masks]
        slots = tokens.new_zeros(sum(sizes), tokens.shape[-1]).index_copy(0, self.slots, tokens)
        blocks = zip(torch.split(slots, sizes), self.masks, strict=True)
        return tuple(block.view(mask.shape[0], mask.shape[-1], -1) for block, mask in blocks)

    def collect(self, blocks: Sequence[Tensor]) -> Tensor:
        """Take the (N, D) tokens out of the blocks' slots, (R, W, D) each."""
        flat = [block.flatten(0, 1) for block in blocks]
        slots = flat[0] if len(flat) == 1 else torch.cat(flat)
        return slots.index_select(0, self.slots)


@dataclass(frozen=True)
class Block:
    """Some of the jets, laid into rows of one length; ``starts`` are their first slots, counted from the block's."""

    jets: Counts
    starts: Counts
    num_rows: int
    row_length: int

    @property
    def num_slots(self) -> int:
        """R times W."""
        return self.num_rows * self.row_length


def side_by_side(lengths: Counts, row_lengths: Sequence[int]) -> list[Block]:
    """Lay jets with these numbers of tokens, (J,), into rows of the smallest of the given lengths that takes them.

    ``row_lengths`` rise to that of the longest jet at least; each makes a block, of no rows if it gets no jets.
    """
    blocks = []
    for index, row_length in enumerate(row_lengths):
        jets = np.flatnonzero(np.searchsorted(row_lengths, lengths) == index)
        blocks.append(Block(jets, *fill_rows(lengths[jets], row_length), row_length))
    return blocks


def in_classes(lengths: Counts) -> list[Block]:
    """Divide jets with these numbers of tokens, (J,), into equal classes by length; each jet gets a row."""
    blocks = []
    for jets in np.array_split(np.argsort(lengths, kind="stable"), min(NUM_CLASSES, len(lengths))):
        longest = int(lengths[jets].max())
        blocks.append(Block(jets, longest * np.arange(len(jets)), len(jets), longest))
    return blocks


def row_lengths(lengths: Counts) -> tuple[int, ...]:
    """Return one or two row lengths for jets with these numbers of tokens, (J,).

    The short rows are those that leave the fewest logits to compute, which are W per token, if that is worth a block.
    """
    longest = max(MIN_ROW_LENGTH, int(lengths.max()))
    tokens = np.bincount(lengths, weights=lengths, minlength=longest + 1).cumsum()  # of jets up to each length
    candidates = np.arange(MIN_ROW_LENGTH, longest + 1)
    num_logits = candidates * tokens[candidates] + longest * (tokens[-1] - tokens[candidates])
    best = num_logits.argmin()
    if num_logits[best] > MAX_LOGITS_LEFT * num_logits[-1]:
        return (longest,)
    return (int(candidates[best]), longest)


def fill_rows(lengths: Counts, capacity: int) -> tuple[Counts, int]:
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


def lay_out(
    counts: Counts, blocks: Sequence[Block], device: torch.device, dtype: torch.dtype, *, num_fillers: int = 0
) -> Rows:
    """Give every token a slot: the register of each jet, then all tracks jet by jet, then fillers, each on its own.

    Parameters
    ----------
    counts
        (J,) tracks of each jet; with its register a jet takes one slot more.
    blocks
        Between them, every jet once, and an empty slot for each filler.
    """
    ends = np.cumsum([block.num_slots for block in blocks])
    registers = np.empty(len(counts), dtype=np.int64)
    for block, end in zip(blocks, ends, strict=True):
        registers[block.jets] = end - block.num_slots + block.starts
    nth_track = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    slots = np.concatenate([registers, np.repeat(registers, counts) + 1 + nth_track])
    # An empty slot is a jet of its own: it sees itself, or its softmax would be 0/0.
    occupants = -1 - np.arange(ends[-1])
    occupants[slots] = np.concatenate([np.arange(len(counts)), np.repeat(np.arange(len(counts)), counts)])
    slots = np.concatenate([slots, np.flatnonzero(occupants < 0)[:num_fillers]])
    masks = []
    for block, end in zip(blocks, ends, strict=True):
        rows = occupants[end - block.num_slots : end].reshape(block.num_rows, block.row_length)
        masks.append(torch.from_numpy(_mask(rows)).to(device, dtype))
    return Rows(torch.from_numpy(slots).to(device), tuple(masks))


def _mask(jets: Counts) -> NDArray[np.float64]:
    """Return the mask (R, 1, W, W) of rows whose slots hold these jets, (R, W)."""
    return np.where(jets[:, :, None] == jets[:, None, :], 0.0, -np.inf)[:, None]
