"""The packed cache equals the h5 file, is made once however many ask, and is made again only when it must be."""

import os
import subprocess
import sys
import threading
from subprocess import PIPE

import h5py
import numpy as np
import pyarrow as pa
import pytest

from raytag.data import cache
from raytag.data.cache import cache_path, open_split
from raytag.data.h5 import select
from raytag.data.reading import read_blocks
from raytag.errors import DataError

TASKS = ("jet_classification", "track_origin", "vertexing")


def arrow_files(data):
    return sorted(data.cache_folder.glob("*.arrow"))


def names(data):
    return sorted(path.name for path in data.cache_folder.iterdir())


def test_table_equals_a_slow_read_of_the_file(experiment, folder):
    data = experiment().data

    table = open_split(data, "train")

    with h5py.File(folder / "pp_output_train.h5") as file:
        jets, tracks = file["jets"][:], file["tracks"][:]
    assert len(table) == len(jets)
    track = 0
    for i, (jet, slots) in enumerate(zip(jets, tracks, strict=True)):
        assert table.jets[i].tolist() == [jet[name] for name in data.jet_variables]
        assert table.labels[i] == jet["flavour_label"]
        assert table.offsets[i] == track
        for slot in slots[slots["valid"]]:
            assert table.tracks[track].tolist() == [slot[name] for name in data.track_variables]
            assert table.origins[track] == slot["ftagTruthOriginLabel"]
            assert table.vertices[track] == slot["ftagTruthVertexIndex"]
            track += 1
    assert table.offsets[-1] == track == len(table.tracks) == np.count_nonzero(tracks["valid"])


@pytest.mark.parametrize("block_jets", [1, 7, 1000])
def test_table_does_not_depend_on_the_block_size(experiment, monkeypatch, block_jets):
    expected = open_split(experiment().data, "val")
    monkeypatch.setattr("raytag.data.reading.BLOCK_JETS", block_jets)
    data = experiment().data
    arrow_files(data)[0].unlink()

    table = open_split(data, "val")

    for name in ("jets", "tracks", "offsets", "labels", "origins", "vertices"):
        np.testing.assert_array_equal(getattr(table, name), getattr(expected, name))


def test_valid_slots_need_not_come_first_and_jets_may_have_none(experiment, folder, rewrite):
    def change(tracks):
        tracks["valid"][0] = False
        tracks[1] = tracks[1][::-1]
        return tracks

    with h5py.File(folder / "pp_output_train.h5") as file:
        slots = file["tracks"][1]
    rewrite(folder / "pp_output_train.h5", tracks=change)

    table = open_split(experiment().data, "train")

    expected = slots["d0"][slots["valid"]][::-1].tolist()
    assert table.offsets[:3].tolist() == [0, 0, len(expected)]
    assert table.tracks[: len(expected), 0].tolist() == expected


def test_only_the_first_jets_are_packed(experiment):
    full, first = open_split(experiment().data, "train"), open_split(experiment(num_train_jets=100).data, "train")

    assert len(first) == 100
    np.testing.assert_array_equal(first.tracks, full.tracks[: full.offsets[100]])


def test_labels_are_read_as_the_tasks_need_them(experiment):
    table = open_split(experiment().data, "train", ["jet_classification", "track_origin"])

    assert table.origins is not None
    assert table.vertices is None


def test_table_is_a_read_only_view_of_the_file(experiment):
    data = experiment().data
    before = pa.total_allocated_bytes()

    table = open_split(data, "train")

    assert pa.total_allocated_bytes() == before
    assert not table.tracks.flags.writeable
    assert not table.tracks.flags.owndata


def test_second_opening_makes_nothing(experiment, monkeypatch):
    data = experiment().data
    open_split(data, "train")
    monkeypatch.setattr(cache, "_build", lambda *_: pytest.fail("the cache was made again"))

    open_split(data, "train")


def test_nothing_but_the_cache_and_its_lock_stays(experiment):
    data = experiment().data

    open_split(data, "train")

    (path,) = arrow_files(data)
    assert names(data) == [f".{path.name}.lock", path.name]


def test_cache_has_the_layout_it_documents(experiment):
    data = experiment(jet_variables=("pt_btagJes",), track_variables=("d0", "qOverP")).data
    open_split(data, "val")

    with pa.ipc.open_file(arrow_files(data)[0]) as reader:
        assert str(reader.schema.field("jets").type).startswith("fixed_size_list<item: float>[1]")
        jet = reader.get_batch(0).slice(3, 1).to_pylist()[0]

    assert jet.keys() == {"jets", "labels", "events", "tracks"}
    assert jet["tracks"][0].keys() == {"inputs", "origins", "vertices"}
    assert len(jet["tracks"][0]["inputs"]) == 2


def _path(data, split="train", tasks=TASKS):
    return cache_path(data.cache_folder, select(data, split, tasks))


def test_same_selection_has_the_same_name(experiment):
    assert _path(experiment().data) == _path(experiment().data)


def test_changed_file_has_another_name(experiment, folder):
    data, path = experiment().data, folder / "pp_output_train.h5"
    before, status = _path(data), path.stat()

    with h5py.File(path, "a") as file:
        file["jets"].attrs["note"] = "changed"
    after_edit = _path(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))

    assert len({before, after_edit, _path(data)}) == 3


def test_moved_file_keeps_its_name(experiment, folder):
    before = _path(experiment().data)
    moved = folder / "elsewhere" / "pp_output_train.h5"
    moved.parent.mkdir()
    (folder / "pp_output_train.h5").rename(moved)

    assert _path(experiment(train=moved).data).name == before.name


@pytest.mark.parametrize(
    "changes",
    [
        {"num_train_jets": 10},
        {"track_variables": ("d0",)},
        {"jet_variables": ("eta_btagJes", "pt_btagJes")},
    ],
)
def test_another_selection_has_another_name(experiment, changes):
    assert _path(experiment(**changes).data) != _path(experiment().data)


def test_another_format_has_another_name(experiment, monkeypatch):
    before = _path(experiment().data)
    monkeypatch.setattr(cache, "FORMAT_VERSION", cache.FORMAT_VERSION + 1)

    assert _path(experiment().data) != before


def test_norm_dict_is_not_part_of_the_cache(experiment, folder, monkeypatch):
    data = experiment().data
    open_split(data, "train")
    text = (folder / "norm_dict.yaml").read_text()
    (folder / "norm_dict.yaml").write_text(text.replace("  pt_btagJes:\n    mean: ", "  pt_btagJes:\n    mean: 1"))
    monkeypatch.setattr(cache, "_build", lambda *_: pytest.fail("the cache was made again"))

    assert open_split(data, "train").jet_scaling.mean[0] > 100_000


DAMAGES = {
    "empty": lambda content: content[:0],
    "truncated": lambda content: content[: len(content) // 2],
    "foot lost": lambda content: content[:-10],
    "all zero": lambda content: bytes(len(content)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_cache_is_made_again(experiment, damage, capsys):
    data = experiment().data
    expected = open_split(data, "train").tracks.copy()
    (path,) = arrow_files(data)
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(damage(content))
    capsys.readouterr()

    table = open_split(data, "train")

    np.testing.assert_array_equal(table.tracks, expected)
    assert f"{path} is damaged and is made again." in capsys.readouterr().err


@pytest.mark.parametrize("changes", [{"num_train_jets": 500}, {"track_variables": ("d0",)}])
def test_cache_of_another_selection_is_not_taken_for_this_one(experiment, changes):
    data, other = experiment().data, experiment(**changes).data
    open_split(other, "train")
    _path(other).rename(_path(data))

    table = open_split(data, "train")

    assert table.tracks.shape[1] == 19
    assert len(table) == 1000


def test_table_outlives_a_cache_that_is_replaced(experiment):
    data = experiment().data
    table = open_split(data, "train")
    expected = table.tracks.copy()

    arrow_files(data)[0].unlink()

    np.testing.assert_array_equal(table.tracks, expected)


def test_leftovers_of_a_killed_build_do_not_matter(experiment):
    data = experiment().data
    path = _path(data)
    spool = path.with_name(f".{path.name}.spool")
    spool.mkdir(parents=True)
    (spool / "tracks").write_bytes(b"half")

    assert len(open_split(data, "train")) == 1000
    assert not spool.exists()


def test_values_are_checked_while_the_cache_is_made(experiment, folder, rewrite):
    def change(jets):
        jets["eta_btagJes"][567] = np.nan
        return jets

    rewrite(folder / "pp_output_train.h5", jets=change)
    data = experiment().data

    with pytest.raises(DataError, match="jets: eta_btagJes is NaN or infinite in 1 jet, first in jet 567"):
        open_split(data, "train")
    assert [name for name in names(data) if not name.endswith(".lock")] == []


def test_folder_that_cannot_be_written(experiment, folder):
    (folder / "occupied").write_text("")

    with pytest.raises(DataError, match=r"occupied: the cache cannot be written here .*Set data\.cache"):
        open_split(experiment(cache=folder / "occupied").data, "train")


def test_missing_split(experiment):
    with pytest.raises(DataError, match=r"data\.test: the experiment names no such file"):
        open_split(experiment().data, "test")


OPEN_WHEN_TOLD = """
import sys
from raytag.config.experiment import DataConfig
from raytag.data.cache import open_split
data = DataConfig.model_validate_json(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print(len(open_split(data, "train").tracks))
"""


def test_processes_that_open_at_once_make_one_cache(experiment):
    data = experiment().data
    command = [sys.executable, "-c", OPEN_WHEN_TOLD, data.model_dump_json()]
    processes = [subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True) for _ in range(3)]

    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60) for process in processes]

    assert {int(out) for out, _ in outputs} == {len(open_split(data, "train").tracks)}
    assert "".join(err for _, err in outputs).count("Packed") == 1


def test_threads_wait_for_each_other_too(experiment, monkeypatch):
    data, builds = experiment().data, []
    everyone = threading.Barrier(3)

    def counted(selection):
        builds.append(selection)
        return read_blocks(selection)

    def opens():
        everyone.wait()
        open_split(data, "train")

    monkeypatch.setattr(cache, "read_blocks", counted)
    threads = [threading.Thread(target=opens) for _ in range(3)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(builds) == 1
