"""What an executor is: the way in which the rows of a group are run forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from raytag.training.workload import TrialModel, Workload

__all__ = ["Executor", "RowLosses"]


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
