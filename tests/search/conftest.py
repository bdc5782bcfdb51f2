"""Settings small enough to follow a search by hand."""

from __future__ import annotations

import pytest

from raytag.config.experiment import DataConfig, Experiment, ResourcesConfig, SearchConfig, TrainingConfig
from raytag.config.space import SearchSpace
from raytag.search.folder import StudyFolder
from raytag.search.study import Study


@pytest.fixture
def space():
    return SearchSpace.model_validate(
        {
            "lr": {"distribution": "log_uniform", "low": 1e-4, "high": 1e-1, "transfer": "yes"},
            "init_scale": {"distribution": "uniform", "low": 0.5, "high": 2, "transfer": "yes"},
            "alpha_output": {"distribution": "categorical", "choices": [1, 2, 4], "transfer": "yes"},
        }
    )


@pytest.fixture
def make_experiment(tmp_path):
    def make(resources=None, **search):
        return Experiment(
            name="toy",
            data=DataConfig(train="train.h5", val="val.h5", norm_dict="norm_dict.yaml"),
            training=TrainingConfig(num_steps=40, evaluate_every=10, batch_size=8),
            search=SearchConfig(
                space="space.yaml", **{"widths": (32, 64), "trials_per_width": 6, "num_startup_trials": 2} | search
            ),
            resources=ResourcesConfig(**{"slots": 2, "executor": "loop"} | (resources or {})),
            output=tmp_path / "runs",
        )

    return make


@pytest.fixture
def folder(tmp_path):
    """An empty study folder."""
    folder = StudyFolder(tmp_path / "study")
    folder.path.mkdir()
    return folder


@pytest.fixture
def open_study(tmp_path, make_experiment, space):
    """Open the study, as a new process would, each time it is called."""

    def open_(experiment=None, name="study"):
        (tmp_path / name).mkdir(exist_ok=True)
        return Study.open(StudyFolder(tmp_path / name), experiment or make_experiment(), space)

    return open_
