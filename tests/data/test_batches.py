"""Minibatches hold the jets they should, in an order that only the seed and the step decide."""

import itertools

import numpy as np
import pytest
import torch

from raytag.data.batches import BatchStream, sequential
from raytag.data.cache import open_split


@pytest.fixture
def table(experiment):
    return open_split(experiment().data, "train")


def fields(batch):
    return [tensor for tensor in vars(batch).values() if tensor is not None]


def equal(first, second):
    return all(torch.equal(a, b) for a, b in zip(fields(first), fields(second), strict=True))


def test_batch_holds_the_standardised_tracks_of_its_jets(table):
    stream = BatchStream(table, 64, seed=3, dtype=torch.float64)

    batch = stream.batch(5)

    jets = stream.jets(5)
    first = 0
    for row, jet in enumerate(jets):
        own = slice(table.offsets[jet], table.offsets[jet + 1])
        last = first + batch.counts[row]
        raw_jet = batch.jets[row].numpy() * table.jet_scaling.std + table.jet_scaling.mean
        raw_tracks = batch.tracks[first:last].numpy() * table.track_scaling.std + table.track_scaling.mean
        np.testing.assert_allclose(raw_jet, table.jets[jet], rtol=1e-12)
        np.testing.assert_allclose(raw_tracks, table.tracks[own], rtol=1e-9, atol=1e-12)
        assert batch.jet_index[first:last].tolist() == [row] * int(batch.counts[row])
        assert batch.jet_labels[row] == table.labels[jet]
        assert batch.origins[first:last].tolist() == table.origins[own].tolist()
        assert batch.vertices[first:last].tolist() == table.vertices[own].tolist()
        first = int(last)
    assert first == len(batch.tracks) == len(batch.jet_index)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_types_of_a_batch(table, dtype):
    batch = BatchStream(table, 16, seed=0, dtype=dtype).batch(0)

    assert {batch.jets.dtype, batch.tracks.dtype} == {dtype}
    others = (batch.counts, batch.jet_index, batch.jet_labels, batch.origins, batch.vertices)
    assert {tensor.dtype for tensor in others} == {torch.int64}


def test_single_precision_equals_double_to_rounding(table):
    single, double = (BatchStream(table, 64, 0, dtype).batch(2) for dtype in (torch.float32, torch.float64))

    torch.testing.assert_close(single.tracks.double(), double.tracks, rtol=1e-5, atol=1e-5)


def test_training_inputs_are_standardised(table):
    tracks = torch.cat([batch.tracks for batch in sequential(table, 400)])

    assert tracks.mean(0).abs().max() < 0.2
    assert (tracks.std(0) - 1).abs().max() < 0.6


def test_jet_without_tracks_keeps_its_row(experiment, folder, rewrite):
    def change(tracks):
        tracks["valid"][[0, 2, 999]] = False
        return tracks

    rewrite(folder / "pp_output_train.h5", tracks=change)
    table = open_split(experiment().data, "train")

    batches = list(sequential(table, 3))

    assert batches[0].counts[0] == batches[0].counts[2] == 0
    assert set(batches[0].jet_index.tolist()) == {1}
    assert batches[-1].counts.tolist() == [0]
    assert batches[-1].tracks.shape == (0, 19)


def test_changing_a_batch_changes_no_other(table):
    stream = BatchStream(table, 8, seed=0)
    before = stream.batch(0)

    for tensor in fields(stream.batch(0)):
        tensor.zero_()

    assert equal(before, stream.batch(0))


def test_epoch_covers_each_jet_once(table):
    stream = BatchStream(table, 100, seed=1)

    jets = np.concatenate([stream.jets(step) for step in range(stream.steps_per_epoch)])

    assert sorted(jets) == list(range(len(table)))


def test_short_batch_of_an_epoch_is_dropped(table):
    stream = BatchStream(table, 300, seed=1)

    jets = [stream.jets(step) for step in range(2 * stream.steps_per_epoch)]

    assert stream.steps_per_epoch == 3
    assert {len(batch) for batch in jets} == {300}
    for epoch in (jets[:3], jets[3:]):
        assert len(set(np.concatenate(epoch))) == 900


def test_epochs_and_seeds_have_orders_of_their_own(table):
    first, other_seed = BatchStream(table, 1000, seed=1), BatchStream(table, 1000, seed=2)

    orders = [first.jets(0), first.jets(1), first.jets(2), other_seed.jets(0), other_seed.jets(1), np.arange(1000)]

    assert all((a != b).mean() > 0.9 for a, b in itertools.combinations(orders, 2))


def test_batch_does_not_depend_on_the_order_of_calls(table):
    steps = [0, 7, 40, 3, 200, 25, 0, 7, 111]
    forward = {step: BatchStream(table, 100, seed=4).batch(step) for step in sorted(steps)}
    stream = BatchStream(table, 100, seed=4)

    assert all(equal(stream.batch(step), forward[step]) for step in steps)


def test_order_is_the_same_on_every_machine(table):
    stream = BatchStream(table, 4, seed=0)

    assert stream.jets(0).tolist() == [578, 540, 900, 291]
    assert stream.jets(stream.steps_per_epoch).tolist() == [790, 700, 49, 329]


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_shards_of_a_batch_are_disjoint_and_complete(table, world_size):
    whole = BatchStream(table, 100, seed=5)
    ranks = [BatchStream(table, 100, seed=5, rank=rank, world_size=world_size) for rank in range(world_size)]

    for step in (0, 9, 10, 33):
        shards = [rank.jets(step) for rank in ranks]
        assert max(map(len, shards)) - min(map(len, shards)) <= 1
        assert sorted(np.concatenate(shards)) == sorted(whole.jets(step))


def test_sequential_walks_in_file_order_to_the_last_jet(table):
    batches = list(sequential(table, 300))

    assert [len(batch.jets) for batch in batches] == [300] * 3 + [100]
    assert torch.cat([batch.jet_labels for batch in batches]).tolist() == table.labels.tolist()
    assert torch.cat([batch.counts for batch in batches]).tolist() == np.diff(table.offsets).tolist()


def test_labels_that_no_task_needs_are_none(experiment):
    table = open_split(experiment().data, "train", ["jet_classification"])

    batch = BatchStream(table, 4, seed=0).batch(0)

    assert batch.origins is None
    assert batch.vertices is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_batch_lands_on_the_device(table):
    device = torch.device("cuda")

    batch = BatchStream(table, 64, seed=0, device=device).batch(1)

    assert batch.counts.device.type == "cpu"
    assert {tensor.device.type for tensor in fields(batch) if tensor is not batch.counts} == {"cuda"}
    assert torch.equal(batch.tracks.cpu(), BatchStream(table, 64, seed=0).batch(1).tracks)
