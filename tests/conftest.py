"""Fixtures that every test may use."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raytag.config.experiment import Experiment

# Read by torch when it is loaded, here and in the processes that tests start: as everywhere in raytag, one thread each.
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def jets() -> Path:
    """Folder of 2,000 jets that ``raytag data simulate`` made (see its README): the layout of a real data folder.

    ``pp_output_train.h5``, ``pp_output_val.h5``, ``pp_output_test_ttbar.h5``, ``norm_dict.yaml``, ``class_dict.yaml``.
    Read only: tests that damage a file copy it first.
    """
    return Path(__file__).parent / "data" / "fixtures"


@pytest.fixture(scope="session")
def tagger_experiment(jets, tmp_path_factory) -> Callable[..., Experiment]:
    """Make an experiment of a tagger of one layer on the jets; sections, as dicts, change it. All share a cache."""
    defaults = {
        "data": {
            "train": jets / "pp_output_train.h5",
            "val": jets / "pp_output_val.h5",
            "norm_dict": jets / "norm_dict.yaml",
            "class_dict": jets / "class_dict.yaml",
            "cache": tmp_path_factory.mktemp("jets-cache"),
        },
        "model": {"num_layers": 1},
        "search": {"space": "space.yaml"},
    }

    def make(**sections: dict[str, Any]) -> Experiment:
        changed = {name: defaults.get(name, {}) | section for name, section in sections.items()}
        return Experiment.model_validate({"name": "test", **defaults, **changed})

    return make


@pytest.fixture(scope="session")
def uri(tmp_path_factory) -> str:
    """Where MLflow records: one database for all tests, since creating it takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Let tests interrupt the commands they start: a shell's background job ignores SIGINT, and so do its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
