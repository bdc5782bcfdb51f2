"""Executors: the ways in which the rows of a group are run forward and backward, and the choice among them."""

from raytag.training.executors.choice import Candidate, CandidateFigures, ExecutorChoice, executor_of
from raytag.training.executors.loop import CompiledLoop, Loop
from raytag.training.executors.protocol import Executor, RowLosses
from raytag.training.executors.selection import choose_executor
from raytag.training.executors.vmap import Vmap

__all__ = [
    "Candidate",
    "CandidateFigures",
    "CompiledLoop",
    "Executor",
    "ExecutorChoice",
    "Loop",
    "RowLosses",
    "Vmap",
    "choose_executor",
    "executor_of",
]
