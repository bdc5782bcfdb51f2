import numpy as np
import pytest
import torch

from raytag.tagging.packing import MIN_ROW_LENGTH, fill_rows, pack


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

    _, num_rows = fill_rows(lengths, 24)

    assert lengths.sum() / (24 * num_rows) > 0.96


def test_a_jet_longer_than_the_rows_makes_them_longer(make_jets):
    assert pack(make_jets((3, 5)), with_pairs=True).rows.mask.shape[-1] == MIN_ROW_LENGTH
    assert pack(make_jets((3, 40)), with_pairs=True).rows.mask.shape[-1] == 41


def test_collecting_undoes_spreading(make_jets):
    rows = pack(make_jets((3, 0, 40, 7)), with_pairs=True).rows
    tokens = torch.randn(54, 6)

    assert torch.equal(rows.collect(rows.spread(tokens)), tokens)


def test_tokens_see_exactly_their_own_jet(make_jets):
    batch = pack(make_jets((3, 0, 8, 7)), with_pairs=True)
    num_rows, length = batch.rows.mask.shape[0], batch.rows.mask.shape[-1]
    seen = torch.zeros(num_rows * length, num_rows * length)
    for row in range(num_rows):
        block = slice(row * length, (row + 1) * length)
        seen[block, block] = batch.rows.mask[row, 0].exp()
    seen = seen[batch.rows.slots][:, batch.rows.slots]

    assert torch.equal(seen, (batch.token_jets[:, None] == batch.token_jets).float())


def test_inputs_are_jet_then_track_variables(make_jets):
    jets = make_jets((3, 0, 2))

    batch = pack(jets, with_pairs=False)

    assert torch.equal(batch.inputs[4], torch.cat([jets.jets[2], jets.tracks[4]]))
    assert batch.inputs.shape == (5, 21)
