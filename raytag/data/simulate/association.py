"""Pairs of jets and other objects of the same event, and the nearest jet of each object."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytag.data.simulate.helix import delta_phi

__all__ = ["Direction", "delta_r", "expand", "nearest", "pairs"]

# Event number (sorted for jets), eta and phi of a list of objects.
Direction = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]
Rows = NDArray[np.intp]


def expand(starts: NDArray[Any], counts: NDArray[Any]) -> tuple[Rows, Rows]:
    """Return (owner, row) for owners that hold ``counts`` consecutive rows from ``starts`` on."""
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) + np.repeat(starts - (np.cumsum(counts) - counts), counts)


def pairs(jet_event: NDArray[np.int64], object_event: NDArray[np.int64]) -> tuple[Rows, Rows]:
    """Return (jet, object) for all pairs in the same event; ``jet_event`` is sorted."""
    first = np.searchsorted(jet_event, object_event, side="left")
    last = np.searchsorted(jet_event, object_event, side="right")
    item, jet = expand(first, last - first)
    return jet, item


def delta_r(jets: Direction, jet: Rows, objects: Direction, item: Rows) -> NDArray[np.float64]:
    """Distance in (eta, phi) of pairs."""
    return np.hypot(delta_phi(objects[2][item], jets[2][jet]), objects[1][item] - jets[1][jet])


def nearest(jets: Direction, objects: Direction, cone: NDArray[np.float64] | float) -> tuple[Rows, Rows]:
    """Return (jet, object) with each object at its nearest jet, if one holds it in its cone (one size, or one a jet).

    Objects come in ascending order.
    """
    jet, item = pairs(jets[0], objects[0])
    distance = delta_r(jets, jet, objects, item)
    is_inside = distance < (cone if isinstance(cone, float) else cone[jet])
    jet, item, distance = jet[is_inside], item[is_inside], distance[is_inside]
    order = np.lexsort((distance, item))
    jet, item = jet[order], item[order]
    is_first = np.ones(len(item), dtype=bool)
    is_first[1:] = item[1:] != item[:-1]
    return jet[is_first], item[is_first]
