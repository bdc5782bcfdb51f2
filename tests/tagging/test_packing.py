import torch

from raytag.tagging.packing import pack


def test_inputs_are_jet_then_track_variables(make_jets):
    jets = make_jets((3, 0, 2))

    batch = pack(jets, with_pairs=False)

    assert torch.equal(batch.inputs[4], torch.cat([jets.jets[2], jets.tracks[4]]))
    assert batch.inputs.shape == (5, 21)


def test_registers_come_before_the_tracks(make_jets):
    batch = pack(make_jets((3, 0, 2)), with_pairs=False)

    assert batch.num_registers == 3
    assert batch.token_jets.tolist() == [0, 1, 2, 0, 0, 0, 2, 2]
