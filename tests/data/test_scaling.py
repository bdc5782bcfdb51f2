"""norm_dict.yaml and class_dict.yaml are read in the order asked for, and their mistakes are placed by line."""

import numpy as np
import pytest

from raytag.data.scaling import Scaling, class_weights, read_scaling
from raytag.errors import DataError


@pytest.fixture
def write(tmp_path):
    def apply(text):
        path = tmp_path / "dict.yaml"
        path.write_text(text)
        return path

    return apply


def messages(call, *arguments):
    with pytest.raises(DataError) as caught:
        call(*arguments)
    return [str(problem) for problem in caught.value.problems]


def test_variables_come_in_the_order_asked_for(write):
    path = write("tracks:\n  a: {mean: 1, std: 2}\n  b: {mean: -3e-6, std: 4.5}\n")

    scaling = read_scaling(path, "tracks", ["b", "a"])

    assert scaling.mean.tolist() == [-3e-6, 1.0]
    assert scaling.std.tolist() == [4.5, 2.0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_standardise_leaves_its_input_alone(dtype):
    values = np.array([[1.0, 10.0], [3.0, 30.0]], dtype=np.float32)
    values.setflags(write=False)

    scaled = Scaling(np.array([1.0, 20.0]), np.array([2.0, 10.0])).standardise(values, dtype)

    assert scaled.dtype == dtype
    assert scaled.tolist() == [[0.0, -1.0], [1.0, 1.0]]


def test_every_wrong_entry_is_reported_with_its_line(write):
    path = write("tracks:\n  a: {mean: 1, std: 0}\n  b: {mean: .nan, std: 1}\n  c: {mean: 1}\n  d: 5\n")

    assert messages(read_scaling, path, "tracks", ["a", "b", "c", "d", "bb"]) == [
        f"{path}:2 tracks.a.std: expected a number above 0, found 0.",
        f"{path}:3 tracks.b.mean: expected a number, found nan.",
        f"{path}:4 tracks.c.std: expected a number above 0, found nothing.",
        f"{path}:5 tracks.d: expected {{mean: ..., std: ...}}, found 5.",
        f"{path}:1 tracks: no mean and std of bb. Did you mean b?",
    ]


def test_unreadable_files(write, tmp_path):
    assert messages(read_scaling, tmp_path / "none.yaml", "jets", ["pt"]) == [f"{tmp_path}/none.yaml: no such file."]
    assert "not YAML" in messages(read_scaling, write("jets: {pt: ["), "jets", ["pt"])[0]
    assert "jets: expected a section" in messages(read_scaling, write("tracks: {}"), "jets", ["pt"])[0]


def test_class_weights_are_read(write):
    path = write("jets:\n  flavour_label: [1, 2.5, 0, 7e-1]\n")

    assert class_weights(path, "jets", "flavour_label", 4).tolist() == [1.0, 2.5, 0.0, 0.7]


def test_without_a_file_every_class_weighs_one():
    assert class_weights(None, "jets", "flavour_label", 3).tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{other: [1]}", "expected a list of 2 weights, found nothing."),
        ("{flavour_label: [1, 2, 3]}", "3 weights, but there are 2 classes."),
        ("{flavour_label: [1, -2]}", "expected a number of at least 0 for class 1, found -2."),
        ("{flavour_label: [1, yes]}", "expected a number of at least 0 for class 1, found 'yes'."),
        ("{flavour_label: [1, .inf]}", "expected a number of at least 0 for class 1, found inf."),
        ("{flavour_label: [0, 0]}", "every weight is 0, so nothing would be learned."),
    ],
)
def test_wrong_class_weights(write, text, message):
    found = messages(class_weights, write(f"jets: {text}"), "jets", "flavour_label", 2)

    assert len(found) == 1
    assert found[0].endswith(f"jets.flavour_label: {message}")
