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
    """One training to be run: its result follows from these values and the experiment, and from nothing else.

    ``name`` is unique in the study ("w32-0007"); ``seed`` keys the initial weights and the dropout masks; jets of
    ``fold`` are held out of the training, None trains on all; ``num_steps`` is the length of its training and of its
    schedule, None the experiment's.
    """

    name: str
    width: int
    seed: int
    hyperparameters: Hyperparameters
    fold: int | None = None
    num_steps: int | None = None


@dataclass(frozen=True)
class RowState:
    """A trial after ``step`` optimizer steps: a group that starts from it goes on bit for bit.

    Tensors are on the CPU and keyed by parameter name, so a state outlives the memory layout of the group it came from.
    ``moments`` are the optimizer's, by their names in torch's optimizers ("exp_avg").
    """

    trial: Trial
    step: int
    parameters: Mapping[str, Tensor]
    moments: Mapping[str, Mapping[str, Tensor]]
