"""What training costs in floating-point operations, counted in the model itself."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from raytag.training.workload import TrialModel, Workload

__all__ = ["flops_per_step"]


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
