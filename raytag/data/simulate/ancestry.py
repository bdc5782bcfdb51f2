"""Where particles come from: hadron flavours, decay chains, and the truth origins of tracks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raytag.data.schema import Origin
from raytag.data.simulate.generator import Events

__all__ = ["Ancestry", "carries_quark", "trace"]

TAU = 15
# Strange hadrons that fly, and the pions and kaons that decay in flight.
SECONDARY_PARENTS = (310, 130, 3122, 3112, 3222, 3312, 3322, 3334, 211, 321)
# Pythia8 status codes of the products of decays.
DECAY_STATUS = (91, 99)


def carries_quark(abs_id: NDArray[np.int64], quark: int) -> NDArray[np.bool_]:
    """Whether |PDG numbers| are hadrons that contain a quark (4 or 5), by their digits."""
    is_hadron: NDArray[np.bool_] = (abs_id > 100) & (abs_id < 1_000_000)
    return is_hadron & (np.equal(abs_id // 100 % 10, quark) | np.equal(abs_id // 1000 % 10, quark))


@dataclass(frozen=True)
class Ancestry:
    """Which kinds of particle the decay chain of each particle holds."""

    has_b: NDArray[np.bool_]
    has_c: NDArray[np.bool_]
    has_tau: NDArray[np.bool_]
    has_hadron: NDArray[np.bool_]
    has_strange: NDArray[np.bool_]

    @property
    def origin(self) -> NDArray[np.int8]:
        """Truth origin. A track of a strange decay inside a heavy-flavour chain keeps the heavy origin, as in ATLAS."""
        return np.select(
            [self.has_b & self.has_c, self.has_b, self.has_c, self.has_tau, self.has_strange],
            [Origin.FROM_BC, Origin.FROM_B, Origin.FROM_C, Origin.FROM_TAU, Origin.OTHER_SECONDARY],
            Origin.PRIMARY,
        ).astype(np.int8)


def trace(events: Events, rows: NDArray[np.intp]) -> Ancestry:
    """Walk from some particles up through the decays that made them."""
    flags = np.zeros((5, len(rows)), dtype=bool)
    walking = np.arange(len(rows))
    current = rows
    while True:
        status = np.abs(events.status[current])
        is_decay_product = (status >= DECAY_STATUS[0]) & (status <= DECAY_STATUS[1])
        walking = walking[is_decay_product]
        if not len(walking):
            return Ancestry(*flags)
        current = events.mother[current[is_decay_product]]
        parent = events.abs_id[current]
        is_b = carries_quark(parent, 5)
        flags[0, walking] |= is_b
        flags[1, walking] |= carries_quark(parent, 4) & ~is_b
        flags[2, walking] |= parent == TAU
        flags[3, walking] |= parent > 100
        flags[4, walking] |= np.isin(parent, SECONDARY_PARENTS)
