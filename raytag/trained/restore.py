"""A saved trial's numbers in a model of its own."""

from __future__ import annotations

from typing import TypeVar

import torch

from raytag.training.trial import RowState
from raytag.training.workload import TrialModel

__all__ = ["restore"]

Model = TypeVar("Model", bound=TrialModel)


def restore(model: Model, state: RowState, dtype: torch.dtype, device: torch.device | None = None) -> Model:
    """Give a new model the settings and parameters of a saved trial, and return it in evaluation mode."""
    model.to(device, dtype)
    model.set_hyperparameters(state.trial.hyperparameters)
    model.hold_out(state.trial.fold)
    parameters = dict(model.named_parameters())
    assert state.parameters.keys() == parameters.keys(), sorted(state.parameters.keys() ^ parameters.keys())
    model.load_state_dict({**model.state_dict(), **state.parameters})  # the buffers hold the settings by now
    return model.eval()
