"""Saved models, of whichever structure, measured on the same jets."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from raytag.config.experiment import Experiment
from raytag.data.schema import Split
from raytag.report.comparison import Measured, Measurement
from raytag.training import checkpoint
from raytag.training.trial_group import TrialGroup
from raytag.workloads import open_workload

__all__ = ["SavedModel", "measure"]


@dataclass(frozen=True)
class SavedModel:
    """A checkpoint, and the experiment that says how its model is built and where the jets are."""

    experiment: Experiment
    checkpoint: Path

    @property
    def digest(self) -> str | None:
        """What tells the checkpoint from any other one that was in its place; None if there is none."""
        if not self.checkpoint.exists():
            return None
        with self.checkpoint.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def measure(models: Mapping[str, SavedModel], split: Split, device: torch.device) -> Measured:
    """Measure models, by name, on all jets of a split."""
    return Measured(split, {name: _measure(model, split, device) for name, model in models.items()})


def _measure(model: SavedModel, split: Split, device: torch.device) -> Measurement:
    workload, saved = open_workload(model.experiment, device), checkpoint.load(model.checkpoint)
    group = TrialGroup(workload, saved.state.trial.width, slots=1)
    # The jets are those of the split even if the model was validated on a fold.
    group.start(0, replace(saved.state.trial, fold=None), saved.state)
    losses, weights = workload.objective_terms(workload.predict(group.model(0), split), split)
    return Measurement(group.evaluate(0, split), losses.numpy(), weights.numpy())
