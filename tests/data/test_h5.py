"""What is wrong with data files is reported before anything is trained, all at once."""

import subprocess
import sys

import h5py
import numpy as np
import pytest
from numpy.lib import recfunctions

from raytag.data import h5
from raytag.errors import DataError


def messages(experiment):
    with pytest.raises(DataError) as caught:
        h5.check_data(experiment)
    return [str(problem) for problem in caught.value.problems]


def only_message(experiment):
    found = messages(experiment)
    assert len(found) == 1, found
    return found[0]


def set_values(variable, index, value):
    def change(array):
        array[variable][index] = value
        return array

    return change


def first_valid(tracks):
    return tuple(axis[0] for axis in np.nonzero(tracks["valid"]))


def test_sound_files_pass(experiment):
    h5.check_data(experiment(test=None))


def test_inspect_tells_what_a_file_holds(folder):
    contents = h5.inspect(folder / "pp_output_train.h5")

    assert (contents.num_jets, contents.num_slots) == (1000, 40)
    assert contents.class_names == ("bjets", "cjets", "ujets", "taujets")
    assert contents.jet_variables["pt_btagJes"] == np.float32
    assert "d0" in contents.track_variables


def test_class_names_may_be_bytes(folder):
    path = folder / "pp_output_train.h5"
    with h5py.File(path, "a") as file:
        file["jets"].attrs["flavour_label"] = np.array([b"bjets", b"cjets", b"ujets", b"taujets"])

    assert h5.class_names(path) == ("bjets", "cjets", "ujets", "taujets")


def test_missing_file(experiment, folder):
    (folder / "pp_output_val.h5").unlink()

    assert only_message(experiment()) == f"{folder}/pp_output_val.h5: no such file."


def test_folder_instead_of_file(experiment, folder):
    assert only_message(experiment(val=folder)) == f"{folder}: is not a file."


def test_file_that_is_no_h5(experiment, folder):
    (folder / "pp_output_val.h5").write_text("pt,eta\n1,2\n")

    assert "pp_output_val.h5: cannot be opened as h5 (file signature not found)." in only_message(experiment())


def test_truncated_file(experiment, folder):
    path = folder / "pp_output_train.h5"
    path.write_bytes(path.read_bytes()[:50_000])

    message = only_message(experiment())
    assert message.startswith(f"{path}: cannot be opened as h5 (truncated file: eof = 50000,")
    assert message.endswith("Copy or make it again.")


def test_damaged_chunk_names_the_jets(experiment, folder):
    path = folder / "pp_output_train.h5"
    with h5py.File(path) as file:
        offset = file["tracks"].id.get_chunk_info(3).byte_offset
    content = bytearray(path.read_bytes())
    content[offset : offset + 64] = bytes(64)
    path.write_bytes(content)

    assert f"{path}: jets 0 to 999 cannot be decoded" in only_message(experiment())


def test_missing_dataset(experiment, folder, rewrite):
    rewrite(folder / "pp_output_train.h5", tracks=lambda _: None)

    assert only_message(experiment()).endswith("train.h5 tracks: no such dataset. The file has: jets")


def test_dataset_without_named_variables(experiment, folder, rewrite):
    rewrite(folder / "pp_output_train.h5", jets=lambda jets: jets["pt"])

    assert "train.h5 jets: holds float32, expected a structured dataset" in only_message(experiment())


def test_flat_tracks(experiment, folder, rewrite):
    rewrite(folder / "pp_output_train.h5", tracks=np.ravel)

    assert only_message(experiment()).endswith("train.h5 tracks: has shape (40000,), expected (jets, slots).")


def test_jets_and_tracks_of_different_length(experiment, folder, rewrite):
    rewrite(folder / "pp_output_train.h5", tracks=lambda tracks: tracks[:-1])

    assert only_message(experiment()).endswith("train.h5 tracks: 999 rows, but there are 1,000 jets.")


def test_file_without_jets(experiment, folder, rewrite):
    rewrite(folder / "pp_output_val.h5", jets=lambda jets: jets[:0], tracks=lambda tracks: tracks[:0])

    assert only_message(experiment()).endswith("val.h5 jets: is empty.")


def test_missing_variable_lists_what_the_file_has(experiment):
    found = messages(experiment(track_variables=("d0_sig", "z0SinThet")))

    expected = (
        "pp_output_train.h5 tracks: no variable z0SinThet. Did you mean z0SinTheta? The file has: d0, z0SinTheta, "
    )
    assert any(expected in message for message in found)
    assert any("pp_output_val.h5 tracks: no variable d0_sig." in message for message in found)


def test_truth_of_tasks_that_are_not_trained_may_be_missing(experiment, folder, rewrite):
    for split in ("train", "val"):
        rewrite(
            folder / f"pp_output_{split}.h5",
            tracks=lambda tracks: recfunctions.drop_fields(tracks, ["ftagTruthOriginLabel", "ftagTruthVertexIndex"]),
        )

    h5.check_data(experiment(tasks=("jet_classification",)))
    assert any("no variable ftagTruthVertexIndex" in message for message in messages(experiment()))


def test_label_that_is_not_an_integer(experiment, folder, rewrite):
    def as_float(jets):
        kinds = [(name, "f4" if name == "flavour_label" else jets.dtype[name]) for name in jets.dtype.names]
        return jets.astype(kinds)

    rewrite(folder / "pp_output_val.h5", jets=as_float)

    assert only_message(experiment()).endswith("jets: flavour_label has type float32, expected an integer.")


def test_truth_among_the_inputs(experiment):
    found = messages(experiment(jet_variables=("pt_btagJes", "HadronConeExclTruthLabelID")))

    assert found[0].startswith("data.jet_variables: HadronConeExclTruthLabelID is no measurement")


def test_more_jets_than_the_file_has(experiment):
    message = only_message(experiment(num_train_jets=5000))

    assert message.endswith("jets: has 1,000 jets, data.num_train_jets asks for 5,000. Lower it or leave it out.")


def test_batch_larger_than_the_training_file(experiment):
    assert only_message(experiment(batch_size=2000)) == (
        "training.batch_size: 2000 jets, but there are 1000 to train on."
    )


def test_missing_class_names(experiment, folder, rewrite):
    rewrite(folder / "pp_output_val.h5", keep_attributes=False)

    assert "val.h5 jets: the dataset has no attribute flavour_label with the class names" in messages(experiment())[0]


def test_class_names_differ_between_files(experiment, folder):
    with h5py.File(folder / "pp_output_val.h5", "a") as file:
        file["jets"].attrs["flavour_label"] = ["ujets", "cjets", "bjets", "taujets"]

    assert only_message(experiment()).endswith(
        "val.h5 jets: classes ujets, cjets, bjets, taujets, but the training file has bjets, cjets, ujets, taujets."
    )


def test_class_without_jets_is_named(experiment, folder, rewrite):
    def without_taus(jets):
        jets["flavour_label"][jets["flavour_label"] == 3] = 2
        return jets

    rewrite(folder / "pp_output_train.h5", jets=without_taus)

    assert only_message(experiment()).endswith("jets: class taujets (flavour_label 3) has none of the 1,000 jets.")


def test_test_file_may_lack_a_class(experiment, folder, rewrite):
    path = folder / "pp_output_test_ttbar.h5"
    rewrite(path, jets=set_values("flavour_label", slice(None), 0))

    h5.check_data(experiment(test=path))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_jet_input(experiment, folder, rewrite, value):
    rewrite(folder / "pp_output_train.h5", jets=set_values("pt_btagJes", [7, 900], value))

    assert only_message(experiment()).endswith("jets: pt_btagJes is NaN or infinite in 2 jets, first in jet 7.")


def test_nan_in_a_valid_track(experiment, folder, rewrite):
    def change(tracks):
        tracks["d0"][17, 0] = np.nan
        assert tracks["valid"][17, 0]
        return tracks

    rewrite(folder / "pp_output_train.h5", tracks=change)

    assert only_message(experiment()).endswith("tracks: d0 is NaN or infinite for 1 valid track, first in jet 17.")


def test_nan_in_an_empty_slot_or_an_unused_variable_is_no_problem(experiment, folder, rewrite):
    def change(tracks):
        for name in ("d0", "qOverP"):
            tracks[name][~tracks["valid"]] = np.nan
        return tracks

    rewrite(folder / "pp_output_train.h5", tracks=change, jets=set_values("mass", 3, np.nan))

    h5.check_data(experiment())


def test_label_out_of_range(experiment, folder, rewrite):
    rewrite(folder / "pp_output_train.h5", jets=set_values("flavour_label", 9, 4))

    assert only_message(experiment()).endswith("jets: flavour_label is outside 0 to 3 in 1 jet, first in jet 9.")


def test_origin_out_of_range_matters_only_to_its_task(experiment, folder, rewrite):
    def change(tracks):
        tracks["ftagTruthOriginLabel"][first_valid(tracks)] = -1
        return tracks

    rewrite(folder / "pp_output_train.h5", tracks=change)

    h5.check_data(experiment(tasks=("jet_classification",)))
    assert only_message(experiment()).endswith(
        "tracks: ftagTruthOriginLabel is outside 0 to 7 for 1 valid track, first in jet 0."
    )


def test_file_without_valid_tracks(experiment, folder, rewrite):
    rewrite(folder / "pp_output_train.h5", tracks=set_values("valid", slice(None), False))

    assert only_message(experiment()).endswith("tracks: none of the 1,000 jets has a valid track.")


def test_only_the_jets_asked_for_are_checked(experiment, folder, rewrite):
    rewrite(folder / "pp_output_train.h5", jets=set_values("pt_btagJes", 500, np.nan))

    h5.check_data(experiment(num_train_jets=500))


def test_part_of_a_large_file_does_not_tell_that_a_class_is_missing(experiment, folder, rewrite, monkeypatch):
    monkeypatch.setattr(h5, "CHECKED_JETS", 10)
    rewrite(folder / "pp_output_train.h5", jets=set_values("flavour_label", slice(0, 10), 0))

    h5.check_data(experiment())


def test_all_problems_come_at_once(experiment, folder, rewrite):
    rewrite(folder / "pp_output_train.h5", jets=set_values("pt_btagJes", 0, np.nan))
    (folder / "pp_output_val.h5").write_bytes(b"")
    (folder / "class_dict.yaml").write_text("jets: {flavour_label: [1, 1]}\ntracks: {ftagTruthOriginLabel: [1]}\n")
    (folder / "norm_dict.yaml").unlink()

    found = "\n".join(messages(experiment()))

    for part in (
        "pt_btagJes is NaN",
        "val.h5: cannot be opened",
        "norm_dict.yaml: no such file.",
        "2 weights, but there are 4 classes",
        "1 weights, but there are 8 classes",
    ):
        assert found.count(part) == 1, part


def test_checking_loads_no_torch():
    code = "import sys, raytag.data.h5, raytag.data.cache; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
