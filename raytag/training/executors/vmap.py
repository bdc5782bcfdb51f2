"""The executor that runs rows at once: one program, whose every tensor has a leading axis R.

An operation is launched once for all rows. That pays where a step is bound by launches (small models on a GPU), and
costs where it is bound by memory (larger temporaries).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from raytag.config.experiment import Autocast, CompileMode
from raytag.training.executors.compiling import Step, compile_stack, ladder_size
from raytag.training.executors.protocol import RowLosses
from raytag.training.executors.row_function import RowFunction
from raytag.training.executors.row_stack import RowStack
from raytag.training.workload import TrialModel, Workload

__all__ = ["Vmap"]

# A group uses a few sets of rows at a time: all, and those at a step of their own.
MAX_STACKS = 16


class Vmap:
    """Run all rows that share a batch in one call of ``torch.vmap``. One instance serves one group."""

    def __init__(self, compile_mode: CompileMode = "off", autocast: Autocast = "none") -> None:
        self._autocast, self._compile_mode = autocast, compile_mode
        self.name = "vmap" if compile_mode == "off" else "compiled vmap"
        self._function: RowFunction | None = None
        self._step: Step
        self._memory = 0
        self._stacks: dict[tuple[int, ...], RowStack] = {}

    def __call__(self, workload: Workload[Any], models: Sequence[TrialModel], batches: Sequence[Any]) -> RowLosses:
        """Return the losses of the rows, in their order; see :class:`raytag.training.executors.Executor`."""
        if self._function is None:
            self._function = RowFunction(workload, models[0], self._autocast)
            self._step = compile_stack(self._function, workload, self._compile_mode)
        self._function.prepare(models)
        losses: list[RowLosses] = []
        order: list[int] = []
        for rows in _rows_by_batch(batches):
            losses.append(self._run_together([models[row] for row in rows], batches[rows[0]]))
            order += rows
        totals, tasks = torch.cat([part.totals for part in losses]), torch.cat([part.tasks for part in losses])
        back = sorted(range(len(order)), key=order.__getitem__)
        return RowLosses(totals[back], tasks[back]) if len(losses) > 1 else losses[0]

    def _run_together(self, models: Sequence[TrialModel], batch: Any) -> RowLosses:
        num_rows = len(models)
        size = ladder_size(num_rows) if self._compile_mode != "off" else num_rows
        # A row alone is run twice: one matrix product is rounded unlike a stack of them, and a trial's numbers must not
        # depend on its company. From two rows on they are the same bits on the CPU.
        filled = [*models, *[models[0]] * (max(size, 2) - num_rows)]
        stack = self._stack(filled)
        stack.refresh()
        buffers = [dict(model.named_buffers()) for model in filled]
        stacked = {name: torch.stack([one[name] for one in buffers]) for name in buffers[0]}
        totals, tasks = (losses[:num_rows] for losses in self._step(stack.parameters, stacked, batch))
        stack.backward(totals.sum(), num_rows)
        # Copied: the next replay of a CUDA graph writes into the same memory.
        return RowLosses(totals.detach().clone(), tasks.detach().clone())

    def _stack(self, models: Sequence[TrialModel]) -> RowStack:
        """Return the rows' tensors seen together; what is seen does not move as long as the storage lives."""
        first = next(models[0].parameters())
        if self._memory != first.untyped_storage().data_ptr() or len(self._stacks) == MAX_STACKS:
            self._stacks.clear()  # a group that was compacted lets go of its former storage
            self._memory = first.untyped_storage().data_ptr()
        key = tuple(next(model.parameters()).data_ptr() for model in models)
        if key not in self._stacks:
            self._stacks[key] = RowStack(models, is_copied=self._compile_mode != "off")
        return self._stacks[key]


def _rows_by_batch(batches: Sequence[Any]) -> list[list[int]]:
    """Return the rows of each distinct batch."""
    rows: dict[int, list[int]] = {}
    for row, batch in enumerate(batches):
        rows.setdefault(id(batch), []).append(row)
    return list(rows.values())
