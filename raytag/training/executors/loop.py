"""The executors that run row after row; the plain one is the reference for every other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from raytag.config.experiment import Autocast, CompileMode
from raytag.training.executors.compiling import Step, compile_rows
from raytag.training.executors.protocol import RowLosses
from raytag.training.executors.row_function import RowFunction
from raytag.training.precision import mixed_precision
from raytag.training.workload import TrialModel, Workload

__all__ = ["CompiledLoop", "Loop"]


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


class CompiledLoop:
    """Run each row in one compiled program that all rows share. One instance serves one group."""

    name = "compiled loop"

    def __init__(self, compile_mode: CompileMode, autocast: Autocast = "none") -> None:
        self._compile_mode, self._autocast = compile_mode, autocast
        self._function: RowFunction | None = None
        self._step: Step

    def __call__(self, workload: Workload[Any], models: Sequence[TrialModel], batches: Sequence[Any]) -> RowLosses:
        """Return the losses of the rows, in their order; see :class:`raytag.training.executors.Executor`."""
        if self._function is None:
            self._function = RowFunction(workload, models[0], self._autocast)
            self._step = compile_rows(self._function, workload, self._compile_mode)
        self._function.prepare(models)
        totals, tasks = [], []
        for model, batch in zip(models, batches, strict=True):
            total, losses = self._step(dict(model.named_parameters()), dict(model.named_buffers()), batch)
            torch.autograd.backward(total)
            # Copied: the next replay of a CUDA graph writes into the same memory.
            totals.append(total.detach().clone())
            tasks.append(losses.detach().clone())
        return RowLosses(torch.stack(totals), torch.stack(tasks))
