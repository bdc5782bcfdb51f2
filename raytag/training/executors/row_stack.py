"""R rows of a storage seen as one model whose tensors have a leading axis R.

Rows at equal distances in memory are seen in place, others copied together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from raytag.training.layout import ALIGNMENT_BYTES
from raytag.training.workload import TrialModel

__all__ = ["RowStack"]


class RowStack:
    """The parameters of R models of one structure, by name: leaves of shape (R, ...).

    ``is_copied`` always copies, so that all stacks of R rows have the same strides, which a compiler relies on.
    """

    def __init__(self, models: Sequence[TrialModel], *, is_copied: bool = False) -> None:
        self._rows = [_row(model, lambda parameter: parameter.detach()) for model in models]
        self._gradient_rows = [_row(model, _gradient) for model in models]
        self._is_in_place = not is_copied and _is_even(self._rows) and _is_even(self._gradient_rows)
        self._values = _see_together(self._rows) if self._is_in_place else torch.stack(self._rows)
        origin = int(self._rows[0].storage_offset())
        places = sorted((int(p.storage_offset()) - origin, name, p.shape) for name, p in models[0].named_parameters())
        self.parameters = {name: _part(self._values, start, shape).requires_grad_() for start, name, shape in places}
        stops = [start + shape.numel() for start, _, shape in places]
        starts = [*(start for start, _, _ in places[1:]), self._values.shape[1]]
        #: Zeros for the stretch between each parameter and the next.
        self._gaps = [self._values.new_zeros(len(models), b - a) for a, b in zip(stops, starts, strict=True)]

    def refresh(self) -> None:
        """Take over the rows' present parameters."""
        if not self._is_in_place:
            torch.stack(self._rows, out=self._values)

    def backward(self, loss: Tensor, num_rows: int) -> None:
        """Add the gradients of a scalar to those of the first rows; the others are fillers."""
        gradients = torch.autograd.grad(loss, list(self.parameters.values()), materialize_grads=True)
        parts = [part for pair in zip(gradients, self._gaps, strict=True) for part in pair]
        # In one piece: a row's gradients are a few kernels on a GPU, not one for each of its parameters.
        together = torch.cat([part.flatten(1) for part in parts], dim=1)
        if self._is_in_place:
            _see_together(self._gradient_rows).add_(together)
        else:
            for row, gradient in zip(self._gradient_rows[:num_rows], together[:num_rows], strict=True):
                row.add_(gradient)


def _part(values: Tensor, start: int, shape: torch.Size) -> Tensor:
    """View the columns of (R, P) that hold one parameter of R rows."""
    return values[:, start : start + shape.numel()].view(len(values), *shape)


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None, "the model was not adopted by a storage"
    return parameter.grad


def _row(model: TrialModel, of: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the stretch of memory in which one kind of a model's tensors lies, as a vector of whole cache lines.

    Rows that are copied together then begin on cache lines too, and a matrix product rounds the same in each.
    """
    tensors = [of(parameter) for parameter in model.parameters()]
    start = min(tensor.storage_offset() for tensor in tensors)
    stop = max(tensor.storage_offset() + tensor.numel() for tensor in tensors)
    grain = ALIGNMENT_BYTES // tensors[0].element_size()
    return tensors[0].as_strided((-(-(stop - start) // grain) * grain,), (1,), start)


def _is_even(rows: Sequence[Tensor]) -> bool:
    """Whether rows of one memory follow each other at equal distances; no row twice, and none before an earlier one."""
    starts = [row.storage_offset() for row in rows]
    distances = {second - first for first, second in pairwise(starts)}
    return len(distances) <= 1 and min(distances, default=1) > 0


def _see_together(rows: Sequence[Tensor]) -> Tensor:
    """View evenly spaced rows of shape (P,) as one tensor (R, P)."""
    distance = rows[1].storage_offset() - rows[0].storage_offset() if len(rows) > 1 else len(rows[0])
    return rows[0].as_strided((len(rows), len(rows[0])), (distance, 1), rows[0].storage_offset())
