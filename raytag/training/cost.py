"""What training costs: floating-point operations and activations, counted in the model itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from raytag.config.experiment import Autocast
from raytag.training.precision import mixed_precision
from raytag.training.workload import TrialModel, Workload

__all__ = ["activation_bytes", "batch_bytes", "flops_per_step"]


def flops_per_step(workload: Workload[Any], model: TrialModel) -> int:
    """Count the operations of one training step, forward and backward, on the first batch.

    Matrix products count, at two operations per multiply and add; elementwise work and the optimizer do not. All steps
    of a width cost the same up to the number of tracks in a batch, in any executor, so this is called once per width.
    What a layout adds to a batch to fill it up counts too. It runs a step, but leaves parameters and gradients alone.
    """
    with FlopCounterMode(display=False) as counter:
        losses = workload.loss_terms(model, workload.train_batch(0)).losses
        torch.autograd.grad((model.loss_weights * losses).sum(), list(model.parameters()), allow_unused=True)
    return int(counter.get_total_flops())


def activation_bytes(workload: Workload[Any], model: TrialModel, batch: Any, autocast: Autocast = "none") -> int:
    """Count the bytes that a forward pass keeps for the backward pass, beside the model and the batch.

    It is 3 to 7 % below the peak of all tensors of a step: the last temporaries are missing.
    """
    resident = {_address(tensor) for tensor in (*model.parameters(), *model.buffers(), *_tensors(batch))}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if _address(tensor) not in resident:
            kept[_address(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    device = model.loss_weights.device
    with saved_tensors_hooks(keep, lambda tensor: tensor), mixed_precision(autocast, device):
        losses = workload.loss_terms(model, batch).losses  # noqa: F841  (while it lives, so does what was kept)
    return sum(kept.values())


def batch_bytes(batch: Any) -> int:
    """Count the bytes of a batch's tensors."""
    return sum({_address(tensor): tensor.untyped_storage().nbytes() for tensor in _tensors(batch)}.values())


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _tensors(value: Any) -> Iterator[Tensor]:
    """Find the tensors in nested dataclasses and sequences, such as the workloads' batches."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _tensors(part)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _tensors(getattr(value, field.name))
