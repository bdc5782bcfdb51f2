"""Mean and standard deviation of numbers that come in pieces."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Moments"]


class Moments:
    """Running mean and population standard deviation in float64, merged by the rule of Chan et al. (1979)."""

    def __init__(self) -> None:
        self._count = 0
        self.mean = 0.0
        self._squares = 0.0

    def update(self, values: NDArray[Any]) -> None:
        """Take in more values."""
        if not values.size:
            return
        numbers = values.astype(np.float64)
        mean = float(numbers.mean())
        count = self._count + numbers.size
        distance = mean - self.mean
        self._squares += float(np.square(numbers - mean).sum()) + distance**2 * self._count * numbers.size / count
        self.mean += distance * numbers.size / count
        self._count = count

    @property
    def std(self) -> float:
        """Standard deviation; 0 without values."""
        return float(np.sqrt(self._squares / self._count)) if self._count else 0.0
