"""Data folders that tests may damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import pytest

from raytag.config.experiment import DataConfig, Experiment, SearchConfig, TaggerConfig, TrainingConfig


@pytest.fixture(scope="session")
def thousand_jets(jets, tmp_path_factory) -> Path:
    """The jets, with the training file cut to 1,000 jets so that tests can rely on the number."""
    folder = Path(shutil.copytree(jets, tmp_path_factory.mktemp("data") / "jets", copy_function=shutil.copyfile))
    with h5py.File(jets / "pp_output_train.h5") as source, h5py.File(folder / "pp_output_train.h5", "w") as target:
        for name, dataset in source.items():
            cut = target.create_dataset(name, data=dataset[:1000], chunks=True, compression="gzip")
            cut.attrs.update(dataset.attrs)
    return folder


@pytest.fixture
def folder(thousand_jets, tmp_path) -> Path:
    """A private copy of the jets, to be damaged."""
    return Path(shutil.copytree(thousand_jets, tmp_path / "jets"))


@pytest.fixture
def experiment(folder):
    """Make an experiment on the private copy; keywords change its data section, tasks and batch size."""

    def make(tasks=("jet_classification", "track_origin", "vertexing"), batch_size=64, **changes):
        files = {
            "train": folder / "pp_output_train.h5",
            "val": folder / "pp_output_val.h5",
            "norm_dict": folder / "norm_dict.yaml",
            "class_dict": folder / "class_dict.yaml",
        }
        return Experiment(
            name="test",
            data=DataConfig(**(files | changes)),
            model=TaggerConfig(tasks=tasks),
            training=TrainingConfig(batch_size=batch_size),
            search=SearchConfig(space=folder / "space.yaml"),
        )

    return make


@pytest.fixture
def rewrite():
    """Change the datasets of a file: each keyword maps the old array to the new one, or to None to leave it out."""

    def apply(path: Path, *, keep_attributes: bool = True, **changes):
        with h5py.File(path) as file:
            arrays = {name: dataset[:] for name, dataset in file.items()}
            attributes = {name: dict(dataset.attrs) for name, dataset in file.items()}
        for name, change in changes.items():
            arrays[name] = change(arrays[name])
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                if array is not None:
                    dataset = file.create_dataset(name, data=array)
                    dataset.attrs.update(attributes[name] if keep_attributes else {})

    return apply
