"""What bounds a step: the launches of its operations, the memory they move, or the arithmetic.

The work is counted in the step itself, the rates are measured on the device, and their quotients are compared. Every
operation is taken to read its inputs from memory and to write its outputs there, so bandwidth is overestimated where
they stay in a cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["Rates", "Work", "count_work", "measure_rates"]

Clock = Callable[[Callable[[], object]], float]


@dataclass(frozen=True)
class Rates:
    """What a device does in a second when it does nothing else."""

    launches: float
    bytes: float
    flops: float


@dataclass(frozen=True)
class Work:
    """What one step consists of; eager steps only, since a compiled one launches kernels of its own."""

    launches: int
    bytes: int
    flops: int

    def seconds(self, rates: Rates) -> dict[str, float]:
        """Return how long each kind of work would take alone."""
        return {
            "launch": self.launches / rates.launches,
            "bandwidth": self.bytes / rates.bytes,
            "arithmetic": self.flops / rates.flops,
        }

    def bound(self, rates: Rates) -> str:
        """Name the kind of work that takes longest."""
        seconds = self.seconds(rates)
        return max(seconds, key=seconds.__getitem__)


def count_work(step: Callable[[], object]) -> Work:
    """Count the operations, bytes and floating-point operations of a step, by taking it."""
    with FlopCounterMode(display=False) as flops, _Counter() as counter:
        step()
    return Work(counter.launches, counter.bytes, int(flops.get_total_flops()))


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has not typed it
    """Counts what torch runs, forward and backward; views launch nothing."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.launches = self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.launches += 1
            tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor)]
            self.bytes += sum(tensor.nbytes for tensor in tensors)
        return out


def measure_rates(device: torch.device, clock: Clock, *, num_launches: int = 2000, size: int = 1024) -> Rates:
    """Measure a device: tiny operations in a row, a copy larger than any cache, a square matrix product.

    Parameters
    ----------
    clock
        Returns the seconds of a call.
    size
        Rows of the matrices; the copy has 256 times their square of bytes.
    """
    one = torch.zeros(1, device=device)
    large, matrix = torch.ones(64 * size * size, device=device), torch.ones(size, size, device=device)
    copy = torch.empty_like(large)

    def launch() -> None:
        for _ in range(num_launches):
            one.add_(1)

    def best(call: Callable[[], object]) -> float:
        return min(clock(call) for _ in range(5))

    return Rates(
        launches=num_launches / best(launch),
        bytes=2 * large.nbytes / best(lambda: copy.copy_(large)),
        flops=2 * size**3 / best(lambda: matrix @ matrix),
    )
