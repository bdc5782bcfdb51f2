"""Means of a few numbers, one per seed, with the confidence intervals that so few allow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from raytag.files import plain

__all__ = ["CONFIDENCE", "Estimate", "mean_of_seeds", "student"]

CONFIDENCE = 0.95
NORMAL = 1.959964  # what Student's t becomes with infinitely many degrees of freedom


@dataclass(frozen=True)
class Estimate:
    """A figure and half the width of its 95 % confidence interval; NaN where a single seed allows none.

    An infinite figure stands for a training that diverged, NaN for what was not measured.
    """

    value: float
    half_width: float = math.nan

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.value - self.half_width

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.value + self.half_width

    @property
    def has_interval(self) -> bool:
        """Whether there were seeds enough for one."""
        return math.isfinite(self.half_width)

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside the interval; False without one."""
        return self.has_interval and abs(self.value) > self.half_width

    def text(self, digits: int, scale: float = 1.0, sign: Literal["-", "+"] = "+") -> str:
        """Return ``scale`` times the figure with as many decimals, and what its interval adds and takes away."""
        value = round(scale * self.value, digits) + 0.0  # no -0.0
        return f"{value:{sign}.{digits}f}" + (f" ± {scale * self.half_width:.{digits}f}" if self.has_interval else "")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        low, high = (self.low, self.high) if self.has_interval else (None, None)
        return {"value": plain(self.value), "low": low, "high": high, "confidence": CONFIDENCE}


def mean_of_seeds(values: Sequence[float]) -> Estimate:
    """Return the mean of one value per seed with the interval of Student's t; one infinite value makes it infinite."""
    mean = float(np.mean(values))
    if len(values) < 2 or not math.isfinite(mean):
        return Estimate(mean)
    return Estimate(mean, student(len(values) - 1) * float(np.std(values, ddof=1)) / math.sqrt(len(values)))


def student(degrees: int) -> float:
    """Return Student's t: 95 % of the distribution lie between it and its negative.

    Closed forms for one and two degrees of freedom, from three on the expansion of Abramowitz and Stegun 26.7.5, which
    is 1.3e-3 low at three and better beyond.
    """
    if degrees == 1:
        return math.tan(math.pi * CONFIDENCE / 2)
    if degrees == 2:
        return CONFIDENCE * math.sqrt(2 / (1 - CONFIDENCE**2))
    x = NORMAL
    terms = (
        x,
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92160,
    )
    return math.fsum(term / degrees**power for power, term in enumerate(terms))
