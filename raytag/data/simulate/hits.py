"""Hits on silicon layers: how many, and how many are shared with or split from a neighbour's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raytag.data.schema import Origin
from raytag.data.simulate.association import expand
from raytag.data.simulate.helix import delta_phi
from raytag.data.simulate.tracks import TruthTracks

__all__ = ["HitPattern", "draw_hits"]

# Radii in mm of the four barrel pixel layers.
INNERMOST, NEXT_TO_INNERMOST, THIRD, FOURTH = 33.0, 50.0, 88.0, 122.0
LAYER_EFFICIENCY = 0.97
# Two clusters in one layer, where modules overlap.
OVERLAP_SHARES = (0.08, 0.10, 0.08, 0.08)
# Hits picked up by mistake below the radius of production.
WRONG_HIT_SHARE = 0.04
# Distance in (eta, phi) over which neighbours merge their clusters.
MERGING_DISTANCE = 0.006

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class HitPattern:
    """Numbers of hits of T tracks, named as in the GN2 layout without ``numberOf``."""

    innermost: Counts
    next_to_innermost: Counts
    pixel: Counts
    sct: Counts
    innermost_shared: Counts
    innermost_split: Counts
    pixel_shared: Counts
    pixel_split: Counts
    sct_shared: Counts

    @property
    def uncertainty_factor(self) -> NDArray[np.float64]:
        """Growth of the transverse uncertainties where the inner hits are missing or shared."""
        no_innermost = self.innermost == 0
        no_inner = no_innermost & (self.next_to_innermost == 0)
        return (
            np.where(no_innermost, 2.2, 1.0)
            * np.where(no_inner, 1.8, 1.0)
            * np.where(self.innermost_shared > 0, 1.5, 1.0)
        )


def draw_hits(tracks: TruthTracks, jet: NDArray[np.intp], rng: np.random.Generator) -> HitPattern:
    """Draw the hits of tracks; ``jet`` is sorted and says which tracks are neighbours."""
    number = len(tracks)
    is_fake = tracks.origin == Origin.FAKE

    def chance(probability: float | NDArray[np.float64]) -> NDArray[np.int64]:
        return (rng.random(number) < probability).astype(np.int64)

    def layer(radius: float, overlap: float, wrong: float, fake: float) -> NDArray[np.int64]:
        crossed = chance(LAYER_EFFICIENCY) + chance(overlap)
        hits = np.where(tracks.radius < radius, crossed, chance(wrong))
        return np.where(is_fake, chance(fake), hits)

    innermost = layer(INNERMOST, OVERLAP_SHARES[0], WRONG_HIT_SHARE, 0.35)
    next_to_innermost = layer(NEXT_TO_INNERMOST, OVERLAP_SHARES[1], WRONG_HIT_SHARE, 0.40)
    outer = layer(THIRD, OVERLAP_SHARES[2], 0.0, 0.35) + layer(FOURTH, OVERLAP_SHARES[3], 0.0, 0.35)
    sct = np.clip(np.round(rng.normal(8.3, 0.8, number)), 4, 12).astype(np.int64)
    sct = np.where(is_fake, rng.integers(6, 9, number), sct)

    closeness = np.exp(-_nearest_distance(tracks, jet) / MERGING_DISTANCE)
    innermost_shared = chance(0.5 * closeness) * (innermost > 0)
    innermost_split = chance(0.6 * closeness) * (innermost > 0) * (1 - innermost_shared)
    return HitPattern(
        innermost=innermost,
        next_to_innermost=next_to_innermost,
        pixel=innermost + next_to_innermost + outer,
        sct=sct,
        innermost_shared=innermost_shared,
        innermost_split=innermost_split,
        pixel_shared=innermost_shared + chance(0.3 * closeness) * (next_to_innermost > 0),
        pixel_split=innermost_split + chance(0.4 * closeness) * (next_to_innermost > 0),
        sct_shared=rng.binomial(2, 0.25 * closeness),
    )


def _nearest_distance(tracks: TruthTracks, jet: NDArray[np.intp]) -> NDArray[np.float64]:
    """Distance in (eta, phi) to the nearest other track of the same jet; infinite where there is none."""
    first = np.searchsorted(jet, jet, side="left")
    last = np.searchsorted(jet, jet, side="right")
    one, other = expand(first, last - first)
    distance = np.hypot(tracks.eta[one] - tracks.eta[other], delta_phi(tracks.phi[one], tracks.phi[other]))
    distance[one == other] = np.inf
    starts = np.cumsum(last - first) - (last - first)
    return np.minimum.reduceat(distance, starts) if len(jet) else np.empty(0)
