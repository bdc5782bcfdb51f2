"""Dropout whose masks follow from a seed alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn, zeros

__all__ = ["DropoutSeed", "SeededDropout"]


class DropoutSeed:
    """One stream of random numbers for all dropout layers of a model, on the device where they are needed."""

    def __init__(self) -> None:
        self._seed = 0
        self._generator: torch.Generator | None = None

    def reset(self, seed: int) -> None:
        """Start the stream again."""
        self._seed, self._generator = seed, None

    def uniform(self, like: Tensor) -> Tensor:
        """Return the stream's next numbers in [0, 1), shaped and placed like a tensor."""
        if self._generator is None:
            self._generator = torch.Generator(like.device).manual_seed(self._seed)
        return torch.rand(like.shape, generator=self._generator, dtype=like.dtype, device=like.device)


class SeededDropout(nn.Module):
    """Zero each number with the probability in the buffer ``p`` and divide the others by 1 - p, in training only.

    ``is_active`` says in Python whether p > 0, so that no mask is drawn, and no device waited for, when it is 0.
    """

    p: Tensor

    def __init__(self, seed: DropoutSeed) -> None:
        super().__init__()
        self.seed = seed
        self.is_active = False
        self.register_buffer("p", zeros(()))

    def set_probability(self, p: float) -> None:
        """Write the probability."""
        self.p.fill_(p)
        self.is_active = p > 0

    def forward(self, x: Tensor) -> Tensor:
        """Return x of any shape, thinned."""
        if not (self.training and self.is_active):
            return x
        return x * (self.seed.uniform(x) >= self.p) / (1 - self.p)
