"""Ordered pairs of a jet's tracks: what the vertexing head looks at, and their truth.

Axes: J jets, T tracks, P pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raytag.data.schema import HEAVY_FLAVOUR_ORIGINS, Origin

__all__ = ["Pairs", "pair_tracks"]


@dataclass(frozen=True)
class Pairs:
    """All P ordered pairs (i, j), i ≠ j, of tracks of the same jet, sorted by i, then j."""

    first: Tensor  # (P,) int64, track i
    second: Tensor  # (P,) int64, track j
    is_match: Tensor  # (P,) 1.0 where both tracks come from the same truth vertex
    weights: Tensor  # (P,)


def pair_tracks(counts: Tensor, origins: Tensor, vertices: Tensor, device: torch.device, dtype: torch.dtype) -> Pairs:
    """Pair the tracks of each jet.

    A match is a pair with the same truth vertex index; negative indices (pile-up, fakes) match nothing. Pairs weigh 1,
    pairs of two heavy-flavour tracks and pairs of a heavy-flavour track with a fake 2, pairs of two fakes 0, as Salt's
    vertexing task has it.

    Parameters
    ----------
    counts
        (J,) tracks of each jet, on the CPU.
    origins, vertices
        (T,) truth labels.
    device, dtype
        Where the pairs go, and the type of ``is_match`` and ``weights``.
    """
    first, second = (torch.from_numpy(index).to(device) for index in _ordered_pairs(counts.numpy()))
    is_match = (vertices[first] == vertices[second]) & (vertices[first] >= 0)
    is_heavy = torch.isin(origins, torch.tensor(HEAVY_FLAVOUR_ORIGINS, device=device))
    is_fake = origins == Origin.FAKE
    has_heavy = is_heavy[first] | is_heavy[second]
    are_special = (is_heavy | is_fake)[first] & (is_heavy | is_fake)[second]
    weights = torch.where(are_special, torch.where(has_heavy, 2.0, 0.0), 1.0)
    return Pairs(first, second, is_match.to(dtype), weights.to(dtype))


def _ordered_pairs(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return tracks i and j of all pairs."""
    starts = np.repeat(np.cumsum(counts) - counts, counts)  # of each track's jet
    partners = np.repeat(counts - 1, counts)  # of each track
    first = np.repeat(np.arange(len(starts)), partners)
    nth_partner = np.arange(len(first)) - np.repeat(np.cumsum(partners) - partners, partners)
    second = starts[first] + nth_partner
    return first, second + (second >= first)  # a track is no partner of itself
