"""torch.compile for the executors: one compiled program per structure, and few variants of it.

The compiler can take minutes for a program of GN2's size. It is run again for every new shape that it was not told to
leave open, so what is left open, and what the executors keep fixed, decides whether compiling pays.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch

from raytag.config.experiment import CompileMode
from raytag.training.executors.row_function import RowFunction
from raytag.training.workload import Workload

__all__ = ["compile_rows", "compile_stack", "ladder_size"]

Step = Callable[..., Any]

_numbers = itertools.count()


def compile_rows(function: RowFunction, workload: Workload[Any], mode: CompileMode) -> Step:
    """Compile the step of one row, for batches of any size if the workload's batches differ in size."""
    return _compile(function, mode, is_static=workload.has_static_shapes)


def compile_stack(function: RowFunction, workload: Workload[Any], mode: CompileMode) -> Step:
    """Compile the step of R rows, for the sizes of its first batch.

    torch's batching rules (2.13: cat, gather, index_select, layer_norm) read sizes as numbers, so under vmap no size
    can be left open.
    """
    stacked = torch.vmap(function, in_dims=(0, 0, None))
    if mode == "off":
        return stacked
    if not workload.has_static_shapes:
        raise RuntimeError("batches differ in size, and vmap would be compiled anew for each")
    return _compile(stacked, mode, is_static=True)


def ladder_size(num_rows: int) -> int:
    """Return the next power of two: stacks of other sizes are filled up to it, so that few sizes are compiled."""
    return 1 << (num_rows - 1).bit_length()


def _compile(function: Step, mode: CompileMode, *, is_static: bool) -> Step:
    def step(*arguments: Any) -> Any:
        return function(*arguments)

    # torch counts the variants of a code object, and after eight compiles no more; each function has a code of its own.
    step.__code__ = step.__code__.replace(co_name=f"step_{next(_numbers)}")
    # A CUDA graph is recorded for one shape: with open sizes there would be one for every batch.
    uses_graphs = mode == "reduce_overhead" and is_static
    compiled: Step = torch.compile(step, dynamic=not is_static, mode="reduce-overhead" if uses_graphs else None)
    if not uses_graphs:
        return compiled

    def in_new_graph(*arguments: Any) -> Any:
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]  # torch has not typed it
        return compiled(*arguments)

    return in_new_graph
