"""What an executor is: the way in which the rows of a group are run forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from raytag.config.experiment import Autocast
from raytag.training.workload import TrialModel, Workload

__all__ = ["Executor", "RowLosses", "mixed_precision"]


@dataclass(frozen=True)
class RowLosses:
    """The losses of R rows: weighted ``totals`` of shape (R,) and the K losses of each, ``tasks`` of shape (R, K)."""

    totals: Tensor
    tasks: Tensor


class Executor(Protocol):
    """Runs each model on its batch and adds its gradients to its parameters' ``.grad``; a row never sees another.

    The models have one structure, and their parameters lie in one :class:`raytag.training.storage.Storage`.
    """

    @property
    def name(self) -> str:
        """What the user knows it by."""

    def __call__(self, workload: Workload[Any], models: Sequence[TrialModel], batches: Sequence[Any], /) -> RowLosses:
        """Return the losses of the rows, in their order."""


def mixed_precision(autocast: Autocast, device: torch.device) -> AbstractContextManager[Any]:
    """Let matrix products of a forward pass run in bfloat16, or change nothing.

    Parameters stay float32, and torch computes softmax, norms and losses in float32. No gradient scaler is needed:
    bfloat16 has float32's range. A scaler would tie the rows together, since one overflow skips the step of all.
    """
    return nullcontext() if autocast == "none" else torch.autocast(device.type, torch.bfloat16)
