"""A small production: same bytes however it is made, and files as the GN2 layout wants them."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from raytag.config.experiment import DataConfig, Experiment, SearchConfig
from raytag.data.h5 import check_data
from raytag.data.schema import JET_DTYPE, TRACK_DTYPE, Flavour
from raytag.data.simulate.dataset import simulate
from raytag.data.simulate.settings import Settings
from raytag.data.simulate.writer import file_names
from raytag.errors import RaytagError

pytest.importorskip("pythia8mc")
pytest.importorskip("fastjet")

SETTINGS = Settings("ttbar", num_jets=700, seed=3, events_per_chunk=120, pool_events=40)
FILES = file_names("ttbar")

# A production that ends itself as soon as the first chunk is there.
INTERRUPTED = """
import os, sys
from pathlib import Path
from functools import partial
import raytag.cli.data
from raytag.cli.main import main
from raytag.data.simulate.progress import Report
from raytag.data.simulate.settings import Settings

def reach(self, done):
    if self._unit == "jets" and done:
        os.kill(os.getpid(), int(sys.argv[2]))

if __name__ == "__main__":
    Report.reach = reach
    raytag.cli.data.Settings = partial(Settings, events_per_chunk=120, pool_events=40)
    sys.exit(main(["data", "simulate", sys.argv[1], "--jets", "700", "--seed", "3", "--workers", "1"]))
"""


@pytest.fixture(scope="module")
def production(tmp_path_factory):
    folder = tmp_path_factory.mktemp("production") / "ttbar"
    assert simulate(folder, SETTINGS, num_workers=1)
    return folder


def interrupted(folder: Path, number: signal.Signals, script: Path) -> subprocess.CompletedProcess[str]:
    script.write_text(INTERRUPTED)
    return subprocess.run(
        [sys.executable, script, folder, str(int(number))], capture_output=True, text=True, check=False
    )


def assert_same_bytes(first: Path, second: Path) -> None:
    for name in FILES:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def read(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    with h5py.File(folder / name) as file:
        return file["jets"][:], file["tracks"][:]


def test_two_workers_make_the_same_bytes_as_one(production, tmp_path):
    simulate(tmp_path / "two", SETTINGS, num_workers=2)

    assert_same_bytes(production, tmp_path / "two")


@pytest.fixture
def submitted(monkeypatch):
    """Record the arguments of all work given to worker processes."""
    calls = []
    submit = ProcessPoolExecutor.submit

    def recording(self, function, *arguments):
        calls.append(arguments)
        return submit(self, function, *arguments)

    monkeypatch.setattr(ProcessPoolExecutor, "submit", recording)
    return calls


def test_a_killed_production_goes_on_to_the_same_bytes(production, tmp_path, submitted):
    folder = tmp_path / "killed"
    assert interrupted(folder, signal.SIGKILL, tmp_path / "script.py").returncode == -signal.SIGKILL
    finished = set((folder / ".parts").glob("*.npz"))

    simulate(folder, SETTINGS, num_workers=1)

    assert finished
    assert submitted
    assert finished.isdisjoint(argument for call in submitted for argument in call if isinstance(argument, Path))
    assert_same_bytes(production, folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)


def test_ctrl_c_ends_with_one_line_that_tells_how_to_go_on(tmp_path):
    folder = tmp_path / "stopped"

    result = interrupted(folder, signal.SIGINT, tmp_path / "script.py")

    assert result.returncode == 130
    assert result.stderr == f"Stopped. The same command goes on from the parts in {folder / '.parts'}.\n"


def test_a_complete_folder_is_not_made_again(production):
    made_at = (production / FILES[0]).stat().st_mtime_ns

    assert not simulate(production, SETTINGS)
    assert (production / FILES[0]).stat().st_mtime_ns == made_at


def test_other_settings_in_the_same_folder_are_an_error(production):
    with pytest.raises(RaytagError, match=r"made with --seed 3 instead of 4\. Name another folder"):
        simulate(production, Settings("ttbar", 700, 4, events_per_chunk=120, pool_events=40))


def test_a_folder_with_foreign_jets_is_an_error(tmp_path):
    h5py.File(tmp_path / "pp_output_train.h5", "w").close()

    with pytest.raises(RaytagError, match="not made by raytag data simulate"):
        simulate(tmp_path, SETTINGS)


def test_splits_follow_the_event_number_and_share_no_event(production):
    numbers = [read(production, name)[0]["eventNumber"] for name in FILES[:3]]

    assert sum(map(len, numbers)) == SETTINGS.num_jets
    assert set(numbers[0] % 10) <= set(range(8))
    assert set(numbers[1] % 10) == {8}
    assert set(numbers[2] % 10) == {9}


def test_event_numbers_go_on_from_chunk_to_chunk(production):
    numbers = np.concatenate([read(production, name)[0]["eventNumber"] for name in FILES[:3]])
    chunks = np.unique(numbers // SETTINGS.events_per_chunk)

    assert len(chunks) > 2
    assert chunks.tolist() == list(range(len(chunks)))


def test_files_have_the_gn2_layout(production):
    with h5py.File(production / FILES[0]) as file:
        assert file["jets"].dtype == JET_DTYPE
        assert file["tracks"].dtype == TRACK_DTYPE
        assert file["tracks"].shape[1] == 40
        assert list(file["jets"].attrs["flavour_label"]) == ["bjets", "cjets", "ujets", "taujets"]


def test_empty_slots_are_nan_zero_or_minus_one_and_come_last(production):
    _, tracks = read(production, FILES[0])
    valid = tracks["valid"]
    empty = tracks[~valid]

    assert np.all(np.diff(valid.astype(int), axis=1) <= 0)
    assert np.all(np.isnan(empty["d0"]))
    assert np.all(empty["numberOfPixelHits"] == 0)
    assert np.all(empty["ftagTruthOriginLabel"] == -1)
    assert np.all(empty["ftagTruthVertexIndex"] == -1)
    assert np.all(np.isfinite(tracks[valid]["IP3D_signed_d0_significance"]))


def test_norm_dict_is_mean_and_std_of_the_training_file(production):
    jets, tracks = read(production, FILES[0])
    norm = yaml.safe_load((production / "norm_dict.yaml").read_text())

    rows = {"jets": jets, "tracks": tracks[tracks["valid"]]}
    for dataset, variables in norm.items():
        for name, moments in variables.items():
            values = rows[dataset][name].astype(np.float64)
            assert moments["mean"] == pytest.approx(values.mean(), rel=1e-9, abs=1e-12)
            assert moments["std"] == pytest.approx(values.std() or 1.0, rel=1e-9)


def test_class_dict_weighs_classes_by_their_inverse_share_of_the_training_file(production):
    jets, _ = read(production, FILES[0])
    weights = yaml.safe_load((production / "class_dict.yaml").read_text())["jets"]["flavour_label"]
    counts = np.bincount(jets["flavour_label"], minlength=len(Flavour))

    assert np.multiply(weights, counts) == pytest.approx(np.full(4, counts.max()))


def test_files_of_a_process_without_tau_jets_can_be_trained_on(tmp_path):
    simulate(tmp_path, Settings("qcd", num_jets=1000, seed=3, events_per_chunk=300, pool_events=40), num_workers=1)
    train, val, test, norm_dict, class_dict = (tmp_path / name for name in file_names("qcd"))

    check_data(
        Experiment(
            name="qcd",
            data=DataConfig(train=train, val=val, test=test, norm_dict=norm_dict, class_dict=class_dict),
            search=SearchConfig(space=tmp_path / "space.yaml"),
        )
    )
