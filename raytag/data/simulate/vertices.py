"""Truth vertex indices: which tracks of a jet were made at the same point."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from raytag.data.schema import Origin
from raytag.data.simulate.tracks import TruthTracks

__all__ = ["NO_VERTEX", "PRIMARY_VERTEX", "vertex_index"]

PRIMARY_VERTEX = 0
# Pile-up and fakes.
NO_VERTEX = -2
# Points closer than this are one vertex (mm).
MERGING_DISTANCE = 0.1
MAX_INDEX = 127


def vertex_index(tracks: TruthTracks, jet: NDArray[np.intp]) -> NDArray[np.int8]:
    """Return 0 for the primary vertex, 1, 2, ... for the others of each jet, -2 for pile-up and fakes.

    ``jet`` is sorted. Each vertex collects what lies within 0.1 mm of its first track.
    """
    index = np.full(len(tracks), NO_VERTEX, dtype=np.int8)
    points = np.stack([tracks.x, tracks.y, tracks.z], axis=1)
    has_point = ~np.isin(tracks.origin, (Origin.PILEUP, Origin.FAKE))
    is_primary = has_point & (np.linalg.norm(points, axis=1) < MERGING_DISTANCE)
    index[is_primary] = PRIMARY_VERTEX
    waiting = np.flatnonzero(has_point & ~is_primary)
    number = PRIMARY_VERTEX
    while len(waiting):
        number = min(number + 1, MAX_INDEX)
        _, first, group = np.unique(jet[waiting], return_index=True, return_inverse=True)
        distance = np.linalg.norm(points[waiting] - points[waiting[first[group]]], axis=1)
        is_close = distance < MERGING_DISTANCE
        index[waiting[is_close]] = number
        waiting = waiting[~is_close]
    return index
