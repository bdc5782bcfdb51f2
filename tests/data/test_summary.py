"""What ``raytag data info`` shows, and its errors."""

from __future__ import annotations

import shutil

import h5py
import numpy as np
import pytest

from raytag.data.picture import draw_jets
from raytag.data.summary import summarise
from raytag.errors import DataError, RaytagError


@pytest.fixture
def val(jets, tmp_path):
    return shutil.copy(jets / "pp_output_val.h5", tmp_path / "val.h5")


def test_summary_counts_what_the_file_holds(val):
    with h5py.File(val) as file:
        jets, tracks = file["jets"][:], file["tracks"][:]
    valid = tracks["valid"]

    summary = summarise(val)

    assert summary.jet_counts.tolist() == np.bincount(jets["flavour_label"], minlength=4).tolist()
    assert summary.track_counts.sum() == valid.sum()
    assert summary.origin_counts.sum(axis=0).tolist() == np.bincount(tracks["ftagTruthOriginLabel"][valid]).tolist()
    d0 = summary.variables["tracks"]["d0"]
    assert (d0.low, d0.high) == (tracks["d0"][valid].min(), tracks["d0"][valid].max())
    assert d0.moments.std == pytest.approx(tracks["d0"][valid].astype(float).std())


def test_summary_counts_nan_beside_the_moments_of_the_finite_values(val):
    with h5py.File(val, "r+") as file:
        jets = file["jets"][:]
        jets["pt"][3] = np.nan
        file["jets"][:] = jets

    pt = summarise(val).variables["jets"]["pt"]

    assert pt.num_nan == 1
    assert np.isfinite(pt.moments.mean)


def test_text_names_classes_variables_and_units(val):
    text = str(summarise(val))

    assert "bjets" in text
    assert "from bc" in text
    assert any(line.split()[:2] == ["pt_btagJes", "MeV"] for line in text.splitlines())


def test_picture_is_a_png(val, tmp_path):
    draw_jets(val, tmp_path / "val.png")

    assert (tmp_path / "val.png").read_bytes().startswith(b"\x89PNG")


def test_picture_does_without_missing_variables(val, tmp_path):
    with h5py.File(val, "r+") as file:
        names = file["jets"].attrs["flavour_label"]
        for dataset, kept in (("jets", ["flavour_label"]), ("tracks", ["d0", "valid"])):
            rows = file[dataset][:][kept]
            del file[dataset]
            file.create_dataset(dataset, data=rows)
        file["jets"].attrs["flavour_label"] = names

    draw_jets(val, tmp_path / "val.png")

    assert "origin of tracks" not in str(summarise(val))


def test_a_picture_that_cannot_be_written_is_an_error(val, tmp_path):
    with pytest.raises(RaytagError, match="cannot be written"):
        draw_jets(val, tmp_path / "missing" / "val.png")


def test_a_truncated_file_is_an_error(val):
    with val.open("r+b") as file:
        file.truncate(val.stat().st_size // 2)

    with pytest.raises(DataError, match="truncated"):
        summarise(val)


def test_a_damaged_block_is_an_error(val):
    with h5py.File(val) as file:
        offset = file["tracks"].id.get_chunk_info(0).byte_offset
    with val.open("r+b") as file:
        file.seek(offset)
        file.write(b"\x00" * 64)

    with pytest.raises(DataError, match="cannot be decoded"):
        summarise(val)


def test_a_file_without_labels_is_an_error(val):
    with h5py.File(val, "r+") as file:
        del file["jets"].attrs["flavour_label"]

    with pytest.raises(DataError, match="not a labelled GN2 file"):
        summarise(val)
