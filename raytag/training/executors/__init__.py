"""Executors: the ways in which the rows of a group are run forward and backward, and the choice among them."""

from raytag.training.executors.loop import Loop
from raytag.training.executors.protocol import Executor, RowLosses
from raytag.training.executors.vmap import Vmap

__all__ = ["Executor", "Loop", "RowLosses", "Vmap"]
