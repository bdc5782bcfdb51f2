"""torch.compile for the executors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from raytag.config.experiment import CompileMode

__all__ = ["compiled"]


def compiled(function: Callable[..., Any], mode: CompileMode) -> Callable[..., Any]:
    """Return a function that does what this one does, compiled unless the mode is off."""
    if mode == "off":
        return function
    return torch.compile(function, dynamic=True)
