"""The bench of the muP gates: an experiment cut down to a few float64 steps on small batches, on the CPU.

Model, losses, data, optimizer and schedule are the experiment's. Batches are small, and a few hyperparameters are the
gates' own, chosen so that a wrong factor shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from raytag.config.experiment import Experiment
from raytag.training.trial import RowState, Trial
from raytag.training.trial_group import TrialGroup
from raytag.training.workload import Workload

__all__ = [
    "BATCH_SIZE",
    "NUM_STEPS",
    "OpenWorkload",
    "bench_trial",
    "cut_down",
    "open_bench",
    "train_losses",
    "with_depth",
]

NUM_STEPS = 10
BATCH_SIZE = 32

OpenWorkload = Callable[[Experiment, torch.device], Workload[Any]]


def cut_down(experiment: Experiment, num_steps: int = NUM_STEPS, batch_size: int = BATCH_SIZE) -> Experiment:
    """Return the experiment with a few float64 steps on batches of at most this size."""
    training = experiment.training.model_copy(
        update={
            "num_steps": num_steps,
            "evaluate_every": num_steps,
            "precision": "float64",
            "autocast": "none",
            "batch_size": min(batch_size, experiment.training.batch_size),
        }
    )
    return experiment.model_copy(update={"training": training})


def open_bench(open_workload: OpenWorkload, experiment: Experiment, num_steps: int = NUM_STEPS) -> Workload[Any]:
    """Open the cut-down experiment on the CPU."""
    return open_workload(cut_down(experiment, num_steps), torch.device("cpu"))


def with_depth(experiment: Experiment, num_layers: int) -> Experiment:
    """Return the experiment with a model of another depth."""
    model = experiment.model.model_copy(update={"num_layers": num_layers})
    return experiment.model_copy(update={"model": model})


def bench_trial(workload: Workload[Any], width: int, seed: int, settings: Mapping[str, Any]) -> Trial:
    """Return a trial with the experiment's hyperparameters but for a gate's own settings."""
    hyperparameters = workload.experiment.hyperparameters.model_copy(update=settings)
    return Trial(f"gate-w{width}-s{seed}", width, seed, hyperparameters)


def train_losses(group: TrialGroup, trial: Trial, state: RowState | None = None) -> list[float]:
    """Train a trial to its end in slot 0; return the loss before each step, NaN once the training has broken."""
    group.start(0, trial, state)
    results = [group.step().get(0) for _ in range(group.training.num_steps)]
    group.free(0)
    return [math.nan if result is None else result.loss for result in results]
