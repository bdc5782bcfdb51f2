"""The type of the parameters, and the precision of matrix products: bfloat16 autocast and TensorFloat-32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from raytag.config.experiment import Autocast, TrainingConfig

__all__ = ["allow_tf32", "mixed_precision", "parameter_dtype"]


def parameter_dtype(training: TrainingConfig) -> torch.dtype:
    """Return the type of all parameters and inputs of an experiment's models."""
    dtype: torch.dtype = getattr(torch, training.precision)
    return dtype


def mixed_precision(autocast: Autocast, device: torch.device) -> AbstractContextManager[Any]:
    """Let matrix products of a forward pass run in bfloat16, or change nothing.

    Parameters stay float32, and torch computes softmax, norms and losses in float32. No gradient scaler is needed:
    bfloat16 has float32's range. A scaler would tie the rows together, since one overflow skips the step of all.
    """
    return nullcontext() if autocast == "none" else torch.autocast(device.type, torch.bfloat16)


def allow_tf32(is_allowed: bool) -> None:
    """Say for this process whether a GPU may round the inputs of float32 matrix products to TensorFloat-32.

    torch's own default differs between matrix products and convolutions; here both are told.
    """
    precision = "tf32" if is_allowed else "ieee"
    torch.backends.cuda.matmul.fp32_precision = precision
    torch.backends.cudnn.conv.fp32_precision = precision  # type: ignore[attr-defined]  # made when torch is loaded
    torch.backends.cudnn.rnn.fp32_precision = precision  # type: ignore[attr-defined]  # likewise
