"""The memory of a group: parameters, gradients and moments of its R rows, each kind one [R, P] tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from raytag.training.layout import Layout
from raytag.training.trial import RowState, Trial
from raytag.training.workload import TrialModel

__all__ = ["Row", "Storage"]


@dataclass(frozen=True)
class Row:
    """Views of one trial's part of the storage: vectors (P,), and the optimizer's step counts by segment (S,)."""

    parameters: Tensor
    gradients: Tensor
    moments: Mapping[str, Tensor]
    counts: Tensor

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All that a row consists of, in a fixed order."""
        return (self.parameters, self.gradients, *self.moments.values(), self.counts)

    def clear(self) -> None:
        """Forget everything."""
        for tensor in self.tensors:
            tensor.zero_()

    def copy_from(self, other: Row) -> None:
        """Take over another row's content, of this storage or of one with the same layout."""
        for mine, theirs in zip(self.tensors, other.tensors, strict=True):
            mine.copy_(theirs)


class Storage:
    """R rows of one layout, with the moments that an optimizer keeps."""

    def __init__(
        self, num_rows: int, layout: Layout, moments: Sequence[str], *, dtype: torch.dtype, device: torch.device
    ) -> None:
        def allocate() -> Tensor:
            return torch.zeros(num_rows, layout.size, dtype=dtype, device=device)

        self.layout = layout
        kinds = {name: allocate() for name in moments}
        parameters, gradients = allocate(), allocate()
        counts = torch.zeros(num_rows, len(layout.segments), dtype=torch.float32, device=device)
        self.rows = [
            Row(parameters[r], gradients[r], {name: kind[r] for name, kind in kinds.items()}, counts[r])
            for r in range(num_rows)
        ]

    def adopt(self, row: int, model: TrialModel) -> TrialModel:
        """Make a model's parameters and their gradients views of a row."""
        for name, parameter in model.named_parameters():
            parameter.data = self.layout.view(self.rows[row].parameters, name)
            parameter.grad = self.layout.view(self.rows[row].gradients, name)
        return model.train()

    def load(self, row: int, state: RowState) -> None:
        """Write a saved state into a row."""
        target = self.rows[row]
        self.layout.pack(state.parameters, target.parameters)
        assert state.moments.keys() == target.moments.keys(), sorted(state.moments.keys() ^ target.moments.keys())
        for name, moment in state.moments.items():
            self.layout.pack(moment, target.moments[name])
        target.counts.fill_(state.step)

    def save(self, row: int, trial: Trial, step: int) -> RowState:
        """Copy a row to the CPU."""
        source = self.rows[row]
        return RowState(
            trial=trial,
            step=step,
            parameters=self.layout.unpack(source.parameters),
            moments={name: self.layout.unpack(moment) for name, moment in source.moments.items()},
        )
