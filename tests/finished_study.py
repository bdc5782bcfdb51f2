"""A small study of the fixture's jets with one completed trial, made in a second and without Ray."""

from dataclasses import replace

import torch
import yaml

from raytag.config.load import load_experiment, load_space
from raytag.records import OBJECTIVE, OBJECTIVE_STDERR
from raytag.search.folder import StudyFolder
from raytag.search.study import Study
from raytag.training import checkpoint
from raytag.training.trial_group import TrialGroup
from raytag.transfer.folder import TRANSFER, WideFolder
from raytag.workloads import open_workload

SPACE = {
    "lr": {"distribution": "log_uniform", "low": 1e-3, "high": 3e-2, "transfer": "yes"},
    "alpha_output": {"distribution": "log_uniform", "low": 0.5, "high": 4, "transfer": "yes"},
}
COMPLETE, FAILED, RUNNING = "w16-0000", "w16-0001", "w16-0002"


def make_study(path, jets, **training):
    """Make the study ``tiny`` in path/runs and return its folder; keywords change the section ``training``."""
    experiment = load_experiment(write_experiment(path, jets, **training))
    space = load_space(experiment.search.space)
    folder = StudyFolder(path / "runs" / "tiny")
    folder.prepare(experiment, space)
    study = Study.open(folder, experiment, space)
    names = [study.ask(16) for _ in range(3)]
    assert names == [COMPLETE, FAILED, RUNNING]
    study.report(COMPLETE, experiment.training.num_steps, [{OBJECTIVE: 1.3, OBJECTIVE_STDERR: 0.01, "seconds": 1.0}])
    study.fail(FAILED, "the loss became nan")
    save_untrained(folder, experiment, study.members(COMPLETE)[0])
    return folder


def write_experiment(path, jets, **training):
    """Write an experiment and its space into a folder, and return the experiment's file."""
    files = {
        "train": "pp_output_train.h5",
        "val": "pp_output_val.h5",
        "test": "pp_output_test_ttbar.h5",
        "norm_dict": "norm_dict.yaml",
    }
    experiment = {
        "name": "tiny",
        "data": {key: str(jets / name) for key, name in files.items()} | {"cache": str(path / "cache")},
        "model": {"num_layers": 1, "num_heads": 2},
        "mup": {"base_width": 16, "skip_check": True},
        "training": {"num_steps": 30, "batch_size": 32, "evaluate_every": 10} | training,
        "search": {"space": "space.yaml", "widths": [16], "trials_per_width": 3},
        "mlflow": {"tracking_uri": f"sqlite:///{path}/mlflow.db"},
        "output": str(path / "runs"),
    }
    (path / "space.yaml").write_text(yaml.safe_dump(SPACE))
    (path / "tiny.yaml").write_text(yaml.safe_dump(experiment))
    return path / "tiny.yaml"


def save_untrained(folder, experiment, trial):
    """Save a trial's initial model as its checkpoint."""
    group = TrialGroup(open_workload(experiment, torch.device("cpu")), trial.width, slots=1)
    group.start(0, trial)
    path = folder.checkpoint(trial.name)
    path.parent.mkdir(parents=True)
    checkpoint.save(path, group.state(0), group.table, {})


def make_wide_run(study, plan):
    """Make a wide run, as wide as its source, that has saved the source's model."""
    folder = WideFolder(study.path / TRANSFER / plan.trial.name)
    folder.prepare(plan)
    saved = checkpoint.load(study.checkpoint(COMPLETE))
    checkpoint.save(folder.checkpoint, replace(saved.state, trial=plan.trial), saved.table, {})
    return folder
