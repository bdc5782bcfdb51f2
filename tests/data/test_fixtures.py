"""The committed jets: small, complete, and physical."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from raytag.data.schema import Flavour, Origin
from raytag.data.simulate.writer import file_names


@pytest.fixture(scope="module")
def sample(jets):
    parts = []
    for name in file_names("ttbar")[:3]:
        with h5py.File(jets / name) as file:
            parts.append((file["jets"][:], file["tracks"][:]))
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def significance(sample, flavour):
    jets, tracks = sample
    tracks = tracks[jets["flavour_label"] == flavour]
    return tracks["IP3D_signed_d0_significance"][tracks["valid"]]


def test_the_folder_is_complete_and_below_a_megabyte(jets):
    sizes = [(jets / name).stat().st_size for name in file_names("ttbar")]

    assert sum(sizes) < 1_000_000


def test_all_classes_and_origins_are_there(sample):
    jets, tracks = sample

    assert set(jets["flavour_label"]) == set(Flavour)
    assert set(tracks["ftagTruthOriginLabel"][tracks["valid"]]) == set(Origin)


def test_b_jets_are_more_displaced_than_c_jets_and_those_than_light_jets(sample):
    shares = [np.mean(significance(sample, flavour) > 4) for flavour in (Flavour.BJETS, Flavour.CJETS, Flavour.UJETS)]

    assert shares[0] > 2 * shares[1] > 4 * shares[2]


def test_displaced_tracks_of_b_jets_are_signed_positive(sample):
    b_jets, light = significance(sample, Flavour.BJETS), significance(sample, Flavour.UJETS)

    assert np.sum(b_jets > 4) > 5 * np.sum(b_jets < -4)
    assert np.mean(light > 0) == pytest.approx(0.5, abs=0.05)


def test_tracks_of_b_hadrons_are_in_b_jets(sample):
    jets, tracks = sample
    from_b = np.isin(tracks["ftagTruthOriginLabel"], [Origin.FROM_B, Origin.FROM_BC]).sum(axis=1)

    assert from_b[jets["flavour_label"] == Flavour.BJETS].mean() > 3
    assert from_b[jets["flavour_label"] == Flavour.UJETS].mean() < 0.1


def test_primary_tracks_share_the_primary_vertex(sample):
    _, tracks = sample
    primary = tracks[tracks["valid"] & (tracks["ftagTruthOriginLabel"] == Origin.PRIMARY)]

    assert np.mean(primary["ftagTruthVertexIndex"] == 0) > 0.99
