"""Figures with their errors, and the difference of two models on the same events."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "PairedDifference", "paired_difference", "with_error"]

# Below this many standard errors a difference is not worth a verdict.
MIN_SIGNIFICANCE = 2.0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PairedDifference:
    """The mean of one model's losses less another's, with its standard error over the events."""

    mean: float
    stderr: float

    @property
    def significance(self) -> float:
        """The difference in standard errors, without its sign; 0 for equal models."""
        return abs(self.mean) / self.stderr if self.stderr > 0 else 0.0

    @property
    def is_tied(self) -> bool:
        """Whether these events cannot tell the two models apart."""
        return self.significance < MIN_SIGNIFICANCE

    def __str__(self) -> str:
        return with_error(self.mean, self.stderr, sign="+") if self.stderr > 0 else f"{self.mean:+.4f} ± 0.0000"


def paired_difference(first: Floats, second: Floats, weights: Floats) -> PairedDifference:
    """Return the weighted mean of second - first over the same events, and its standard error.

    Most of a loss's spread over events is common to both models and drops out of the difference.
    """
    total = weights.sum()
    change = second - first
    mean = float((weights * change).sum() / total)
    return PairedDifference(mean, float(np.sqrt((weights**2 * (change - mean) ** 2).sum()) / total))


def with_error(value: float, error: float, sign: Literal["-", "+"] = "-") -> str:
    """Return a figure with its error, to the error's second digit or the sixth decimal; ``+`` signs every figure."""
    digits = min(max(0, 1 - math.floor(math.log10(error))), 6)
    return f"{value:{sign}.{digits}f} ± {error:.{digits}f}"
