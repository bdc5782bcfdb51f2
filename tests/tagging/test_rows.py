import itertools

import numpy as np
import pytest
import torch

from raytag.tagging.rows import MIN_ROW_LENGTH, fill_rows, in_classes, lay_out, row_lengths, side_by_side

CPU = torch.device("cpu")
LENGTHS = np.array([4, 1, 41, 8, 1, 13, 16, 17, 9, 2, 16])


def side_by_side_in_two_blocks(lengths):
    return side_by_side(lengths, (16, int(lengths.max())))


def side_by_side_with_room(lengths):
    return side_by_side(lengths, (16, 30, int(lengths.max())))


LAYOUTS = pytest.mark.parametrize("place", [side_by_side_in_two_blocks, side_by_side_with_room, in_classes])


@pytest.mark.parametrize("seed", range(5))
def test_rows_hold_every_sequence_once_and_whole(seed):
    lengths = np.random.default_rng(seed).integers(1, 25, 200)

    starts, num_rows = fill_rows(lengths, 24)

    slots = np.concatenate([np.arange(start, start + n) for start, n in zip(starts, lengths, strict=True)])
    assert len(set(slots.tolist())) == lengths.sum()
    assert slots.max() < 24 * num_rows
    assert (starts // 24 == (starts + lengths - 1) // 24).all()


def test_rows_of_typical_jets_are_nearly_full():
    lengths = np.random.default_rng(0).poisson(7.2, 256).clip(0, 23) + 1

    _, num_rows = fill_rows(lengths, MIN_ROW_LENGTH)

    assert lengths.sum() / (MIN_ROW_LENGTH * num_rows) > 0.96


def test_few_long_jets_do_not_lengthen_the_rows_of_the_others():
    lengths = np.append(np.full(100, 8), 41)

    assert row_lengths(lengths) == (16, 41)


@pytest.mark.parametrize(
    ("lengths", "expected"), [([3, 5], MIN_ROW_LENGTH), ([30] * 50, 30), ([38] * 50 + [41] * 50, 41)]
)
def test_jets_of_similar_length_share_one_block(lengths, expected):
    assert row_lengths(np.array(lengths)) == (expected,)


@LAYOUTS
def test_collecting_undoes_spreading(place):
    rows = lay_out(LENGTHS - 1, place(LENGTHS), CPU, torch.float32)
    tokens = torch.randn(LENGTHS.sum(), 6)

    assert torch.equal(rows.collect(rows.spread(tokens)), tokens)


@LAYOUTS
@pytest.mark.parametrize("num_fillers", [0, 3])
def test_tokens_see_exactly_their_own_jet_and_fillers_themselves(place, num_fillers):
    counts, blocks = LENGTHS - 1, place(LENGTHS)

    rows = lay_out(counts, blocks, CPU, torch.float32, num_fillers=num_fillers)

    seen = torch.block_diag(*(row for mask in rows.masks for row in mask[:, 0].exp()))[rows.slots][:, rows.slots]
    jets = np.arange(len(counts))
    owners = torch.tensor([*jets, *np.repeat(jets, counts), *(-1 - np.arange(num_fillers))])
    assert torch.equal(seen, (owners[:, None] == owners).float())


@LAYOUTS
def test_every_slot_sees_a_slot(place):
    rows = lay_out(LENGTHS - 1, place(LENGTHS), CPU, torch.float32)

    assert all(mask.softmax(-1).isfinite().all() for mask in rows.masks)


def test_classes_hold_jets_of_similar_length():
    blocks = in_classes(LENGTHS)

    assert sorted(np.concatenate([block.jets for block in blocks])) == list(range(len(LENGTHS)))
    assert all(LENGTHS[a.jets].max() <= LENGTHS[b.jets].min() for a, b in itertools.pairwise(blocks))
    assert all(LENGTHS[block.jets].max() == block.row_length for block in blocks)
