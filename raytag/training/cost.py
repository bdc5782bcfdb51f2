"""What training costs: floating-point operations, counted in the model, and seconds on devices.

Operations are the same on every machine, so they compare a narrow sweep with tuning at the target width. Seconds are
what the user pays for.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from raytag.training.workload import TrialModel, Workload

__all__ = ["Cost", "flops_per_step"]


@dataclass(frozen=True)
class Cost:
    """An entry of the cost ledger; entries add up."""

    train_flops: float = 0.0
    device_seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.train_flops + other.train_flops, self.device_seconds + other.device_seconds)

    def to_dict(self) -> dict[str, float]:
        """Return the entry by field name."""
        return asdict(self)


def flops_per_step(workload: Workload[Any], model: TrialModel) -> int:
    """Count the operations of one training step, forward and backward, on the first batch.

    Matrix products count, at two operations per multiply and add; elementwise work and the optimizer do not. All steps
    of a width cost the same up to the number of tracks in a batch, so this is called once per width. It runs a step,
    but leaves parameters and gradients alone.
    """
    with FlopCounterMode(display=False) as counter:
        losses = workload.loss_terms(model, workload.train_batch(0)).losses
        torch.autograd.grad((model.loss_weights * losses).sum(), list(model.parameters()), allow_unused=True)
    return int(counter.get_total_flops())
