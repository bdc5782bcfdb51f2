"""The task heads of GN2: dense networks on jets, on tracks and on pairs of tracks.

The first layer of the track and pair heads reads a concatenation with the pooled jet. It is one matrix, but the
concatenation is never built: W [x, y] + b = W_x x + W_y y + b, so each part is multiplied once per jet or track, not
once per pair, and gathered afterwards.

Axes: J jets, T tracks, P pairs, C = D/2 token width.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from raytag.mup.layers import HiddenLinear, ReadoutLinear
from raytag.tagging.pairs import Pairs

__all__ = ["JetHead", "PairHead", "TrackHead"]


class _TrackLinear(nn.Module):
    """Linear layer on [pooled jet, track]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.joint = HiddenLinear(2 * width, width)

    def forward(self, pooled: Tensor, tracks: Tensor, jet_index: Tensor) -> Tensor:
        of_jet, of_track = self.joint.weight.chunk(2, dim=1)
        jet_part = functional.linear(pooled, of_jet, self.joint.bias)
        return functional.linear(tracks, of_track) + jet_part.index_select(0, jet_index)


class _PairLinear(nn.Module):
    """Linear layer on [pooled jet, track i, track j]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.joint = HiddenLinear(3 * width, width)

    def forward(self, pooled: Tensor, tracks: Tensor, jet_index: Tensor, pairs: Pairs) -> Tensor:
        of_jet, of_first, of_second = self.joint.weight.chunk(3, dim=1)
        jet_part = functional.linear(pooled, of_jet, self.joint.bias)
        first_part = functional.linear(tracks, of_first) + jet_part.index_select(0, jet_index)
        second_part = functional.linear(tracks, of_second)
        return first_part.index_select(0, pairs.first) + second_part.index_select(0, pairs.second)


class _Tail(nn.Module):
    """What follows a head's first layer: ReLU and dense layers of C/2 and C/4, then the readout."""

    def __init__(self, width: int, num_outputs: int, width_multiplier: float) -> None:
        super().__init__()
        self.second = HiddenLinear(width, width // 2)
        self.third = HiddenLinear(width // 2, width // 4)
        self.readout = ReadoutLinear(width // 4, num_outputs, width_multiplier)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = functional.relu(self.second(functional.relu(hidden)))
        logits: Tensor = self.readout(functional.relu(self.third(hidden)))
        return logits


class JetHead(nn.Module):
    """Logits of each jet."""

    def __init__(self, width: int, num_outputs: int, width_multiplier: float) -> None:
        super().__init__()
        self.first = HiddenLinear(width, width)
        self.tail = _Tail(width, num_outputs, width_multiplier)

    def forward(self, pooled: Tensor) -> Tensor:
        """Map pooled jets (J, C) to (J, num_outputs)."""
        logits: Tensor = self.tail(self.first(pooled))
        return logits


class TrackHead(nn.Module):
    """Logits of each track, which also sees its pooled jet."""

    def __init__(self, width: int, num_outputs: int, width_multiplier: float) -> None:
        super().__init__()
        self.first = _TrackLinear(width)
        self.tail = _Tail(width, num_outputs, width_multiplier)

    def forward(self, pooled: Tensor, tracks: Tensor, jet_index: Tensor) -> Tensor:
        """Map jets (J, C) and tracks (T, C) to (T, num_outputs)."""
        logits: Tensor = self.tail(self.first(pooled, tracks, jet_index))
        return logits


class PairHead(nn.Module):
    """One logit for each ordered pair of tracks, which also sees its pooled jet."""

    def __init__(self, width: int, width_multiplier: float) -> None:
        super().__init__()
        self.first = _PairLinear(width)
        self.tail = _Tail(width, 1, width_multiplier)

    def forward(self, pooled: Tensor, tracks: Tensor, jet_index: Tensor, pairs: Pairs) -> Tensor:
        """Map jets (J, C) and tracks (T, C) to (P,)."""
        logits: Tensor = self.tail(self.first(pooled, tracks, jet_index, pairs))
        return logits.squeeze(-1)
