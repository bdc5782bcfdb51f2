"""Which classes and weights the files name, from how often they occur."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import yaml

from raytag.data.schema import JET_DTYPE, TRACK_DTYPE, Flavour, Origin
from raytag.data.simulate.packed import PackedJets
from raytag.data.simulate.settings import Settings
from raytag.data.simulate.writer import class_weights, write_dataset

TRAIN, VAL, TEST = 0, 8, 9


def jets_of(*groups: tuple[int, Flavour, int]) -> PackedJets:
    """Make jets of one primary track each; a group is a remainder of the event number, a flavour, a number of jets."""
    remainders, flavours, numbers = zip(*groups, strict=True)
    jets = np.zeros(sum(numbers), dtype=JET_DTYPE)
    jets["eventNumber"] = np.repeat(remainders, numbers)
    jets["flavour_label"] = np.repeat(flavours, numbers)
    tracks = np.zeros(len(jets), dtype=TRACK_DTYPE)
    tracks["valid"] = True
    tracks["ftagTruthOriginLabel"] = Origin.PRIMARY
    return PackedJets(jets, tracks, np.ones(len(jets), dtype=np.int64))


@pytest.fixture
def write(tmp_path):
    """Write jets; return the folder."""

    def apply(jets: PackedJets):
        write_dataset(tmp_path, Settings("qcd", jets.num_jets), lambda: [jets])
        return tmp_path

    return apply


HADRONIC = [(split, flavour, 4) for split in (TRAIN, VAL, TEST) for flavour in list(Flavour)[:3]]


@pytest.mark.parametrize(
    "taus",
    [
        [(TEST, Flavour.TAUJETS, 1)],
        [(TRAIN, Flavour.TAUJETS, 2), (TEST, Flavour.TAUJETS, 1)],
        [(VAL, Flavour.TAUJETS, 1), (TEST, Flavour.TAUJETS, 1)],
        [(TRAIN, Flavour.BJETS, 400), (TRAIN, Flavour.TAUJETS, 4), (VAL, Flavour.TAUJETS, 1)],
    ],
    ids=["only in test", "none in val", "none in train", "fewer than one to a hundred in train"],
)
def test_tau_jets_that_one_cannot_train_on_are_no_class(write, taus):
    folder = write(jets_of(*HADRONIC, *taus))

    for name in ("train", "val", "test_qcd"):
        with h5py.File(folder / f"pp_output_{name}.h5") as file:
            assert list(file["jets"].attrs["flavour_label"]) == ["bjets", "cjets", "ujets"]
            assert set(file["jets"]["flavour_label"]) == {0, 1, 2}
            assert len(file["jets"]) == len(file["tracks"]) == file.attrs["unique_jets"]
    assert len(yaml.safe_load((folder / "class_dict.yaml").read_text())["jets"]["flavour_label"]) == 3


def test_tau_jets_in_train_and_val_are_a_class(write):
    folder = write(jets_of(*HADRONIC, (TRAIN, Flavour.TAUJETS, 1), (VAL, Flavour.TAUJETS, 1)))

    with h5py.File(folder / "pp_output_train.h5") as file:
        assert list(file["jets"].attrs["flavour_label"]) == ["bjets", "cjets", "ujets", "taujets"]
        assert set(file["jets"]["flavour_label"]) == {0, 1, 2, 3}
    assert yaml.safe_load((folder / "class_dict.yaml").read_text())["jets"]["flavour_label"] == [1, 1, 1, 4]


def test_the_weight_of_what_hardly_occurs_is_bounded():
    assert class_weights(np.array([15_635, 4_000, 100, 1, 0])) == [1, 15_635 / 4_000, 100, 100, 100]
