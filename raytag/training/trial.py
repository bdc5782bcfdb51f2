"""What a trial is, and everything that is needed to go on with one: plain data, no computation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from raytag.config.hyperparameters import Hyperparameters

if TYPE_CHECKING:  # the search reads trials in processes that need no torch
    from torch import Tensor

__all__ = ["RowState", "Trial"]


@dataclass(frozen=True)
class Trial:
    """One training to be run: its result follows from these four values and the experiment, and from nothing else.

    ``name`` is unique in the study ("w32-0007"); ``seed`` keys the initial weights and the dropout masks.
    """

    name: str
    width: int
    seed: int
    hyperparameters: Hyperparameters


@dataclass(frozen=True)
class RowState:
    """A trial after ``step`` optimizer steps: a group that starts from it goes on bit for bit.

    Tensors are on the CPU and keyed by parameter name, so a state outlives the memory layout of the group it came from.
    """

    trial: Trial
    step: int
    parameters: Mapping[str, Tensor]
    exp_avg: Mapping[str, Tensor]
    exp_avg_sq: Mapping[str, Tensor]
