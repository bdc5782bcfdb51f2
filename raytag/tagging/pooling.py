"""From the tokens of a jet to one vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from raytag.mup.layers import ReadoutLinear

__all__ = ["GatedPooling", "softmax_within"]


class GatedPooling(nn.Module):
    """Mean of a jet's tokens, weighted by the softmax of a learned gate over its tracks and its register."""

    def __init__(self, width: int, width_multiplier: float) -> None:
        super().__init__()
        self.gate = ReadoutLinear(width, 1, width_multiplier)

    def forward(self, tokens: Tensor, token_jets: Tensor, num_jets: int) -> Tensor:
        """Map (N, D) tokens, with the jet of each, to (J, D)."""
        weights = softmax_within(self.gate(tokens).squeeze(-1), token_jets, num_jets)
        weighted = tokens * weights[:, None]
        return weighted.new_zeros(num_jets, tokens.shape[-1]).index_add(0, token_jets, weighted)


def softmax_within(logits: Tensor, groups: Tensor, num_groups: int) -> Tensor:
    """Return the softmax, at least in float32, of (N,) logits among those of a group; every group has a member."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))  # under autocast they are bfloat16
    # Softmax does not change with a common shift: the largest logit may leave the graph.
    largest = logits.new_full((num_groups,), -float("inf")).scatter_reduce(0, groups, logits.detach(), "amax")
    exponentials = (logits - largest.index_select(0, groups)).exp()
    sums = logits.new_zeros(num_groups).index_add(0, groups, exponentials)
    return exponentials / sums.index_select(0, groups)
