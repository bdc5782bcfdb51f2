"""Comparing trials' states, bit by bit or within rounding."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from raytag.training.trial import RowState


def same_bits(left: RowState, right: RowState) -> bool:
    """Whether two states hold the same step and the same bits."""
    return left.step == right.step and all(torch.equal(*pair) for _, *pair in pairs(left, right))


def largest_difference(left: RowState, right: RowState) -> float:
    """The largest difference of two numbers in the same place of two states."""
    return max(float((one - other).abs().max()) for _, one, other in pairs(left, right))


def pairs(left: RowState, right: RowState) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Walk through the tensors of two states that must have the same ones."""
    for kind, one, other in [
        ("parameters", left.parameters, right.parameters),
        *((name, moment, right.moments[name]) for name, moment in left.moments.items()),
    ]:
        assert one.keys() == other.keys()
        for name in one:
            yield f"{kind}/{name}", one[name], other[name]
