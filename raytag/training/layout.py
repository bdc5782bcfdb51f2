"""Where each parameter of a trial lies in a group's flat storage.

A row is one contiguous vector. Parameters that share algorithm and factors lie side by side, so a row is updated by one
kernel call per segment (for AdamW three under muP, one under the standard parametrisation) whatever the number of
parameters. Muon works on matrices: those of equal shape share a segment, and are orthogonalised in one batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from raytag.config.experiment import Optimizer
from raytag.mup.multipliers import ParameterRule, RuleTable

__all__ = ["Factors", "Layout", "Segment"]

# Parameters start on cache lines: rows then have the same alignment, and a matrix product rounds the same in each.
ALIGNMENT_BYTES = 64


@dataclass(frozen=True, order=True)
class Factors:
    """What the parameters of a segment share: the algorithm that updates them, and its muP factors.

    ``lr``, ``wd`` and ``eps`` multiply the trial's learning rate, weight decay and epsilon; ``norm`` weighs squared
    gradients in the norm to clip by.
    """

    algorithm: Optimizer
    lr: float
    wd: float
    eps: float
    norm: float


@dataclass(frozen=True)
class Segment:
    """The elements ``start`` to ``stop`` of a row, all with the same factors.

    Under Muon it consists of matrices of one ``matrix_shape``, which begin at ``matrix_offsets`` from ``start``.
    """

    factors: Factors
    start: int
    stop: int
    matrix_shape: tuple[int, ...] = ()
    matrix_offsets: tuple[int, ...] = ()

    def of(self, row: Tensor) -> Tensor:
        """Return this segment of a row of shape (P,), as a view."""
        return row[self.start : self.stop]

    def matrices(self, elements: Tensor) -> list[Tensor]:
        """Return the matrices among this segment's elements, as views."""
        size = math.prod(self.matrix_shape)
        return [elements[offset : offset + size].view(self.matrix_shape) for offset in self.matrix_offsets]


@dataclass(frozen=True)
class Layout:
    """The order of parameters in a row of ``size`` elements. The gaps that alignment leaves stay zero for ever."""

    segments: tuple[Segment, ...]
    offsets: Mapping[str, int]
    shapes: Mapping[str, tuple[int, ...]]
    size: int

    @classmethod
    def of(cls, table: RuleTable, dtype: torch.dtype) -> Layout:
        """Lay out a rule table's parameters, segment by segment."""
        grain = ALIGNMENT_BYTES // dtype.itemsize
        segments: list[Segment] = []
        offsets: dict[str, int] = {}
        end = 0
        for (factors, matrix_shape), rules in groupby(sorted(table.rules, key=_kind), key=_kind):
            start = end
            matrices: list[int] = []
            for rule in rules:
                offsets[rule.name] = end
                if matrix_shape:
                    matrices += (end - start + block * math.prod(matrix_shape) for block in range(rule.num_blocks))
                end += -(-math.prod(rule.shape) // grain) * grain
            segments.append(Segment(factors, start, end, matrix_shape, tuple(matrices)))
        shapes = {rule.name: tuple(rule.shape) for rule in table.rules}
        return cls(tuple(segments), offsets, shapes, end)

    def view(self, row: Tensor, name: str) -> Tensor:
        """Return the view of a row of shape (P,) that holds one parameter."""
        shape, offset = self.shapes[name], self.offsets[name]
        return row[offset : offset + math.prod(shape)].view(shape)

    def unpack(self, row: Tensor) -> dict[str, Tensor]:
        """Copy a row into CPU tensors by parameter name."""
        return {name: self.view(row, name).detach().cpu().clone() for name in self.offsets}

    def pack(self, tensors: Mapping[str, Tensor], row: Tensor) -> None:
        """Write tensors by parameter name into a row, in place."""
        assert tensors.keys() == self.offsets.keys(), sorted(tensors.keys() ^ self.offsets.keys())
        for name, tensor in tensors.items():
            view = self.view(row, name)
            assert tensor.shape == view.shape, f"{name} has shape {tuple(tensor.shape)}, expected {tuple(view.shape)}"
            view.copy_(tensor)


def _kind(rule: ParameterRule) -> tuple[Factors, tuple[int, ...]]:
    """Return what the parameters of a segment have in common: factors, and under Muon the shape of a matrix."""
    factors = Factors(rule.algorithm, rule.lr_factor, rule.wd_factor, rule.eps_factor, rule.norm_factor)
    if rule.algorithm != "muon":
        return factors, ()
    rows, columns = rule.shape
    return factors, (rows // rule.num_blocks, columns)
