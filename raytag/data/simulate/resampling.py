"""Resampling: classes that outnumber the target are drawn down to its spectrum of pT and |eta|, bin by bin.

By its kinematics a tagger cannot tell a class that was drawn down from the target. A class that is rarer than the
target in a bin keeps all its jets there, and with them the spectrum that the process gave it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from raytag.data.schema import Flavour
from raytag.data.simulate.clustering import MAX_ETA, Jets

__all__ = ["NUM_ETA_BINS", "NUM_PT_BINS", "kinematic_bin", "resample"]

NUM_PT_BINS = 15
NUM_ETA_BINS = 5


def kinematic_bin(jets: Jets, pt_min: float, pt_max: float) -> NDArray[np.intp]:
    """Return each jet's bin: 15 in log pT between two pT in GeV, times 5 in |eta| up to 2.5."""
    pt_edges = np.geomspace(pt_min, pt_max, NUM_PT_BINS + 1)[1:-1]
    eta_edges = np.linspace(0, MAX_ETA, NUM_ETA_BINS + 1)[1:-1]
    return np.digitize(jets.pt, pt_edges) * NUM_ETA_BINS + np.digitize(np.abs(jets.eta), eta_edges)


def resample(
    bins: NDArray[np.intp], flavour: NDArray[np.int32], target: Flavour, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Draw each class without replacement down to the target class's count in every bin; taus, being rare, all stay.

    Returns
    -------
    ndarray
        The rows kept, in random order.
    """
    available = np.bincount(bins[flavour == target], minlength=NUM_PT_BINS * NUM_ETA_BINS)
    kept = []
    for drawn in Flavour:
        rows = rng.permutation(np.flatnonzero(flavour == drawn))
        if drawn != Flavour.TAUJETS:
            order = np.argsort(bins[rows], kind="stable")
            sorted_bins = bins[rows][order]
            rank = np.arange(len(rows)) - np.searchsorted(sorted_bins, sorted_bins, side="left")
            rows = rows[order][rank < available[sorted_bins]]
        kept.append(rows)
    return rng.permutation(np.concatenate(kept))
