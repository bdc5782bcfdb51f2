"""The executor that runs row after row: the reference for every other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from raytag.config.experiment import Autocast
from raytag.training.executors.protocol import RowLosses, mixed_precision
from raytag.training.workload import TrialModel, Workload

__all__ = ["Loop"]


@dataclass(frozen=True)
class Loop:
    """Run each row as the module it is."""

    name: ClassVar[str] = "loop"
    autocast: Autocast = "none"

    def __call__(self, workload: Workload[Any], models: Sequence[TrialModel], batches: Sequence[Any]) -> RowLosses:
        """Return the losses of the rows, in their order; see :class:`raytag.training.executors.Executor`."""
        totals, tasks = [], []
        for model, batch in zip(models, batches, strict=True):
            with mixed_precision(self.autocast, model.loss_weights.device):
                losses = workload.loss_terms(model, batch).losses
                total = (model.loss_weights * losses).sum()
            torch.autograd.backward(total)
            totals.append(total.detach())
            tasks.append(losses.detach())
        return RowLosses(torch.stack(totals), torch.stack(tasks))
