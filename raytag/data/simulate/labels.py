"""Flavour labels of jets: HadronConeExcl, the labels of ATLAS flavour tagging.

Each weakly decaying hadron or tau above 5 GeV goes to its nearest jet within 0.3; a jet is then b, c, tau or light, in
that order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raytag.data.schema import Flavour
from raytag.data.simulate.ancestry import TAU, carries_quark
from raytag.data.simulate.association import Direction, expand, nearest
from raytag.data.simulate.columns import Table
from raytag.data.simulate.generator import Events

__all__ = ["JetLabels", "label_jets", "last_of_chain"]

MIN_PT = 5.0
CONE = 0.3
FLAVOUR_OF_CODE = {0: Flavour.UJETS, 4: Flavour.CJETS, 5: Flavour.BJETS, 15: Flavour.TAUJETS}


@dataclass(frozen=True)
class JetLabels(Table):
    """Truth of each jet.

    ``code`` is 5, 4, 15 or 0; ``extended`` is 55 or 44 where a jet holds two such hadrons; ``hadron_pt`` in GeV
    (0 for light jets) and ``hadron_lxy`` in mm (NaN for light jets) belong to the hardest hadron of that code.
    """

    code: NDArray[np.int32]
    extended: NDArray[np.int32]
    hadron_pt: NDArray[np.float64]
    hadron_lxy: NDArray[np.float64]

    @property
    def flavour(self) -> NDArray[np.int32]:
        """Class of each jet, as :class:`~raytag.data.schema.Flavour`."""
        flavour = np.full(len(self.code), -1, dtype=np.int32)
        for code, value in FLAVOUR_OF_CODE.items():
            flavour[self.code == code] = value
        return flavour


def label_jets(events: Events, jets: Direction) -> JetLabels:
    """Return the labels of jets given by event, eta and phi."""
    num_jets = len(jets[0])
    code = np.zeros(num_jets, dtype=np.int32)
    extended = np.zeros(num_jets, dtype=np.int32)
    hadron_pt = np.zeros(num_jets)
    hadron_lxy = np.full(num_jets, np.nan)
    is_b = carries_quark(events.abs_id, 5)
    is_c = carries_quark(events.abs_id, 4) & ~is_b
    # Ascending priority: the later overwrites.
    for value, mask in ((TAU, events.abs_id == TAU), (4, is_c), (5, is_b)):
        rows = last_of_chain(events, mask)
        jet, item = nearest(jets, (events.event[rows], events.eta(rows), events.phi(rows)), CONE)
        rows = rows[item]
        hardest_last = np.argsort(events.pt[rows], kind="stable")
        jet, rows = jet[hardest_last], rows[hardest_last]
        count = np.bincount(jet, minlength=num_jets)
        code[count > 0] = value
        extended[count > 0] = value
        if value != TAU:
            extended[count > 1] = value * 11
        hadron_pt[jet] = events.pt[rows]
        decay = events.first_daughter[rows]
        hadron_lxy[jet] = np.hypot(events.x[decay], events.y[decay])
    return JetLabels(code, extended, hadron_pt, hadron_lxy)


def last_of_chain(events: Events, mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the rows above 5 GeV in ``mask`` none of whose daughters is in ``mask``: the ones that decay weakly."""
    rows = np.flatnonzero(mask & (events.pt > MIN_PT))
    first, last = events.first_daughter[rows], events.last_daughter[rows]
    owner, daughter = expand(first, np.maximum(last - first + 1, 0))
    is_last = np.ones(len(rows), dtype=bool)
    is_last[owner[mask[daughter]]] = False
    return rows[is_last]
