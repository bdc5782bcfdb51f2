import shutil

import h5py
import numpy as np
import pytest
import torch
from finished_study import COMPLETE

from raytag.errors import DataError, StudyError
from raytag.trained import predict, predict_arrays
from raytag.trained.extract import extract
from raytag.trained.model_file import write_model_file


@pytest.fixture(scope="module")
def model(finished, tmp_path_factory):
    """A file made of the completed trial."""
    path = tmp_path_factory.mktemp("model") / "model.pt"
    write_model_file(path, extract(finished, COMPLETE))
    return path


@pytest.fixture
def file(jets, tmp_path):
    """A copy of the test jets that a test may change."""
    return shutil.copy(jets / "pp_output_test_ttbar.h5", tmp_path / "jets.h5")


def read(file):
    with h5py.File(file) as h5:
        return h5["jets"][:], h5["tracks"][:]


def rewrite(file, **datasets):
    """Replace datasets of a file."""
    with h5py.File(file, "a") as h5:
        for name, values in datasets.items():
            del h5[name]
            h5[name] = values


def without(rows, *names):
    """Return structured rows without some of their variables."""
    kept = [name for name in rows.dtype.names if name not in names]
    bare = np.empty(rows.shape, [(name, rows.dtype[name]) for name in kept])
    for name in kept:
        bare[name] = rows[name]
    return bare


def test_probabilities_are_those_of_the_trial_in_its_group(model, jets, group, workload):
    prediction = predict(model, jets / "pp_output_test_ttbar.h5")

    expected = workload.predict(group.model(1), "test")
    assert prediction.class_names == workload.table("test").class_names
    np.testing.assert_array_equal(prediction.probabilities, expected.numpy())
    assert prediction.probabilities.std(axis=0).max() > 1e-4  # the model does tell jets apart


def test_truth_is_not_needed(model, file):
    whole = predict(model, file)
    jets, tracks = read(file)
    rewrite(
        file,
        jets=without(jets, "flavour_label", "HadronConeExclTruthLabelID"),
        tracks=without(tracks, "ftagTruthOriginLabel", "ftagTruthVertexIndex"),
    )

    np.testing.assert_array_equal(predict(model, file).probabilities, whole.probabilities)


def test_arrays_give_what_their_file_gives(model, file):
    from_file, from_arrays = predict(model, file), predict_arrays(model, *read(file))

    np.testing.assert_array_equal(from_arrays.probabilities, from_file.probabilities)


def test_a_jet_without_tracks_and_no_jets_at_all_are_legal(model, file):
    jets, tracks = read(file)
    tracks["valid"][0] = False

    assert np.isfinite(predict_arrays(model, jets[:3], tracks[:3]).probabilities).all()
    assert predict_arrays(model, jets[:0], tracks[:0]).probabilities.shape == (0, 4)


def test_every_missing_variable_is_named(model, file):
    jets, tracks = read(file)
    rewrite(file, jets=without(jets, "pt_btagJes"), tracks=without(tracks, "d0"))

    with pytest.raises(DataError) as caught:
        predict(model, file)

    first, second = str(caught.value).splitlines()
    assert first == f"{file} jets: no variable pt_btagJes, which the model reads. Did you mean eta_btagJes?"
    assert second.startswith(f"{file} tracks: no variable d0, which the model reads.")


def test_a_variable_that_is_not_finite_is_named(model, file):
    jets, tracks = read(file)
    tracks["deta"][5, 0] = np.nan

    with pytest.raises(DataError, match="tracks: deta is not finite in some rows"):
        predict_arrays(model, jets, tracks)


def test_arrays_of_different_jets_are_refused(model, file):
    jets, tracks = read(file)

    with pytest.raises(DataError, match="tracks: 3 rows, but there are 2 jets"):
        predict_arrays(model, jets[:2], tracks[:3])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "model.pt: No such file or directory"),
        (b"no torch file", "model.pt: not a readable model .* Make it again with: raytag extract"),
        ({"raytag_checkpoint": 2}, "model.pt: this is a trial's checkpoint. Make a model of it with: raytag extract"),
        ({"raytag_model": 99}, "model.pt: expected a model file of version 1, found 99"),
        ([1, 2], "model.pt: expected a model file of version 1, found none"),
    ],
)
def test_what_is_no_model_is_told(tmp_path, file, content, message):
    path = tmp_path / "model.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)

    with pytest.raises(StudyError, match=message):
        predict(path, file)
