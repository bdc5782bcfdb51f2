"""Pythia8: set-up, seeds, and events as flat arrays of particles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import awkward as ak
import numpy as np
import pythia8mc
from numpy.typing import NDArray

from raytag.errors import RaytagError

__all__ = ["MINIMUM_BIAS", "Events", "Generator"]

# Diffractive events leave few tracks in the tracker, and starting them takes Pythia8 4 s.
MINIMUM_BIAS = ("SoftQCD:nonDiffractive=on",)
# Fast mode: no multi-parton interactions (the caller lays minimum-bias events over the hard one), taus that decay by
# phase space (their spin correlations take a sixth of the time), and a parton shower that ends at 0.7 GeV, not 0.5
# (another sixth; jets keep their numbers of tracks to 1 %).
FAST = ("PartonLevel:MPI=off", "TauDecays:mode=0", "TimeShower:pTmin=0.7")

# Pythia8 takes seeds of 1 to 900,000,000. Chunks of one production get different ones whatever its seed.
_MAX_PYTHIA_SEED = 900_000_000
_SEED_STRIDE = 1_000_003


@dataclass(frozen=True)
class Events:
    """P particles of a batch of events, event after event, with Pythia8's status codes.

    Momenta in GeV, production vertices in mm from the hard interaction; ``mother``, ``first_daughter`` and
    ``last_daughter`` are rows of these arrays.
    """

    num_events: int
    event: NDArray[np.int64]
    pdg_id: NDArray[np.int64]
    status: NDArray[np.int64]
    mother: NDArray[np.int64]
    first_daughter: NDArray[np.int64]
    last_daughter: NDArray[np.int64]
    px: NDArray[np.float64]
    py: NDArray[np.float64]
    pz: NDArray[np.float64]
    energy: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    z: NDArray[np.float64]

    @cached_property
    def abs_id(self) -> NDArray[np.int64]:
        """PDG number without its sign."""
        return np.abs(self.pdg_id)

    @cached_property
    def pt(self) -> NDArray[np.float64]:
        """Transverse momentum in GeV."""
        return np.hypot(self.px, self.py)

    @cached_property
    def final(self) -> NDArray[np.intp]:
        """Rows of the particles that leave the generator undecayed."""
        return np.flatnonzero(self.status > 0)

    def eta(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Pseudorapidity of some rows."""
        return np.arcsinh(self.pz[rows] / np.maximum(self.pt[rows], 1e-9))

    def phi(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Azimuth of some rows."""
        return np.arctan2(self.py[rows], self.px[rows])


class Generator:
    """A seeded Pythia8 at 13 TeV. Its events depend on the commands, the seed and the chunk alone."""

    def __init__(self, commands: Sequence[str], seed: int, chunk: int, *, is_fast: bool = False) -> None:
        pythia_seed = (seed * _SEED_STRIDE + chunk) % _MAX_PYTHIA_SEED + 1
        self._pythia = pythia8mc.Pythia("", False)
        for command in (
            "Print:quiet=on",
            "Beams:eCM=13000",
            "Random:setSeed=on",
            f"Random:seed={pythia_seed}",
            "Check:event=off",  # a tenth of the time
            *(FAST if is_fast else ()),
            *commands,
        ):
            assert self._pythia.readString(command), command
        if not self._pythia.init():
            raise RaytagError(f"Pythia8 did not start with {'; '.join(commands)}.")

    def generate(self, num_events: int) -> Events:
        """Return the next ``num_events`` events."""
        return _flatten(self._pythia.nextBatch(num_events).prt)

    def charges(self, pdg_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Electric charges of particles, in units of e (hadrons and leptons)."""
        distinct, inverse = np.unique(pdg_ids, return_inverse=True)
        charge = self._pythia.particleData.charge
        return np.array([round(charge(int(pdg_id))) for pdg_id in distinct], dtype=np.int64)[inverse]


def _flatten(particles: Any) -> Events:
    counts = ak.to_numpy(ak.num(particles))
    event = np.repeat(np.arange(len(counts)), counts)
    offset = (np.cumsum(counts) - counts)[event]

    def column(values: Any, dtype: type = np.float64) -> NDArray[Any]:
        flat: NDArray[Any] = ak.to_numpy(ak.flatten(values))
        return flat.astype(dtype, copy=False)

    # Particles made in the hard interaction itself have no production vertex.
    vertex = {name: ak.fill_none(ak.flatten(particles.vProd[name]), 0.0) for name in ("px", "py", "pz")}

    return Events(
        num_events=len(counts),
        event=event,
        pdg_id=column(particles.id, np.int64),
        status=column(particles.status, np.int64),
        mother=column(particles.mother1, np.int64) + offset,
        first_daughter=column(particles.daughter1, np.int64) + offset,
        last_daughter=column(particles.daughter2, np.int64) + offset,
        px=column(particles.p.px),
        py=column(particles.p.py),
        pz=column(particles.p.pz),
        energy=column(particles.p.e),
        x=ak.to_numpy(vertex["px"]),
        y=ak.to_numpy(vertex["py"]),
        z=ak.to_numpy(vertex["pz"]),
    )
