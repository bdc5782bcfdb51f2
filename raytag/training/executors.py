"""How the rows of a group are run forward and backward. Today: one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from raytag.training.workload import TrialModel, Workload

__all__ = ["Executor", "RowLosses", "loop"]


@dataclass(frozen=True)
class RowLosses:
    """The losses of R rows: weighted ``totals`` of shape (R,) and the K losses of each, ``tasks`` of shape (R, K)."""

    totals: Tensor
    tasks: Tensor


class Executor(Protocol):
    """Runs each model on its batch and adds its gradients to its parameters' ``.grad``; a row never sees another."""

    def __call__(self, workload: Workload[Any], models: Sequence[TrialModel], batches: Sequence[Any], /) -> RowLosses:
        """Return the losses of the rows, in their order."""
        ...


def loop(workload: Workload[Any], models: Sequence[TrialModel], batches: Sequence[Any]) -> RowLosses:
    """Run row after row."""
    totals, tasks = [], []
    for model, batch in zip(models, batches, strict=True):
        losses = workload.loss_terms(model, batch).losses
        total = (model.loss_weights * losses).sum()
        torch.autograd.backward(total)
        totals.append(total.detach())
        tasks.append(losses.detach())
    return RowLosses(torch.stack(totals), torch.stack(tasks))
