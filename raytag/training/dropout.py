"""Dropout whose masks follow from a key alone: the same on every device, in every executor, beside any neighbours.

No generator is advanced. A mask is a pure function of (key, layer, position) in whole-number tensor operations, so vmap
draws a different one for each row of keys, torch.compile fuses it and a CUDA graph replays it. On the CPU it costs what
a Mersenne Twister costs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn, zeros

__all__ = ["DropoutSource", "SeededDropout", "random_words"]

WORD = 0xFFFFFFFF
# Of the hash lowbias32 (C. Wellons, https://nullprogram.com/blog/2018/07/31/). The second is its 0x846ca68b modulo 2^32
# written as a negative number, so that the product with a word stays within 63 bits.
FIRST_FACTOR, SECOND_FACTOR = 0x7FEB352D, 0x846CA68B - 2**32
GOLDEN_RATIO = 0x9E3779B9  # 2^32/φ: the streams of layers start far from each other


class DropoutSource(nn.Module):
    """What all dropout layers of a model share: the probability, and the key of the next forward pass's masks.

    ``is_active`` says in Python whether the probability is above 0, so that no mask is drawn, and no device waited for,
    when it is not.
    """

    probability: Tensor
    key: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.is_active = False
        self.num_layers = 0
        self.register_buffer("probability", zeros(()))
        self.register_buffer("key", zeros((), dtype=torch.int64))

    def set_probability(self, probability: float) -> None:
        """Write the probability that a number is dropped."""
        self.probability.fill_(probability)
        self.is_active = probability > 0

    def set_key(self, key: int) -> None:
        """Draw the next masks from this key: 63 well-mixed bits, such as those of a numpy SeedSequence."""
        self.key.fill_(key)


class SeededDropout(nn.Module):
    """Zero each number with the source's probability and divide the others by 1 - p, in training only.

    A layer is for one place in a model: if it were called twice in a forward pass, it would draw the same mask twice.
    """

    def __init__(self, source: DropoutSource) -> None:
        super().__init__()
        # In a tuple it is not registered under every layer, where functional_call would put it back wrongly.
        self._sources = (source,)
        self.layer = source.num_layers
        source.num_layers += 1

    def forward(self, x: Tensor) -> Tensor:
        """Return x of any shape, thinned."""
        (source,) = self._sources
        if not (self.training and source.is_active):
            return x
        probability = source.probability
        words = random_words(source.key, self.layer, x.numel()).view(x.shape)
        is_kept = words >= (probability.double() * 2**32).long()
        return x * is_kept / (1 - probability)


def random_words(key: Tensor, stream: int, count: int) -> Tensor:
    """Return ``count`` random whole numbers in [0, 2^32), as int64.

    The positions, from where the lower half of the key and the stream say, are hashed with lowbias32, whose state takes
    up the upper half of the key midway: keys whose streams happen to start at the same place still give unlike words.

    Parameters
    ----------
    key
        0-d int64, not negative, its bits well mixed: keys that differ by one bit can give correlated words.
    stream
        Number of the stream that belongs to this key.
    """
    positions = torch.arange(count, device=key.device)
    words = (positions + ((key & WORD) + stream * GOLDEN_RATIO)) & WORD
    words = (words ^ (words >> 16)) * FIRST_FACTOR & WORD
    words = words ^ (key >> 32)
    words = (words ^ (words >> 15)) * SECOND_FACTOR & WORD
    return words ^ (words >> 16)
