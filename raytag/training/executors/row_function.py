"""The losses of one row as a function of nothing but its tensors and a batch, as vmap and torch.compile want it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from raytag.config.experiment import Autocast
from raytag.training.precision import mixed_precision
from raytag.training.workload import TrialModel, Workload

__all__ = ["RowFunction"]

TEMPLATE = "template"


class RowFunction:
    """(parameters, buffers, batch) → weighted total and K task losses, of any model of one structure."""

    def __init__(self, workload: Workload[Any], model: TrialModel, autocast: Autocast) -> None:
        # A shell without numbers, of which this function may change the flags.
        self._losses = _Losses(workload, deepcopy(model).to("meta"))
        self._autocast = autocast

    def prepare(self, models: Sequence[TrialModel]) -> None:
        """Draw dropout masks in the next calls if any of these models needs one; a probability of 0 keeps all."""
        self._losses.template.dropout.is_active = any(model.dropout.is_active for model in models)

    def __call__(
        self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], batch: Any
    ) -> tuple[Tensor, Tensor]:
        """Return a scalar and a tensor of shape (K,)."""
        tensors = {f"{TEMPLATE}.{name}": tensor for name, tensor in {**parameters, **buffers}.items()}
        weights = buffers["loss_weights"]
        with mixed_precision(self._autocast, weights.device):
            losses: Tensor = functional_call(self._losses, tensors, (batch,))
            return (weights * losses).sum(), losses


class _Losses(nn.Module):
    """A workload's losses as a module's forward pass, which is what functional_call can fill with tensors."""

    template: TrialModel

    def __init__(self, workload: Workload[Any], template: TrialModel) -> None:
        super().__init__()
        self.template = template
        self._workload = workload

    def forward(self, batch: Any) -> Tensor:
        return self._workload.loss_terms(self.template, batch).losses
