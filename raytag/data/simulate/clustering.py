"""Jets: anti-kt 0.4 clusters of stable particles, measured with a calorimeter's resolution."""

from __future__ import annotations

from dataclasses import dataclass

import awkward as ak
import fastjet
import numpy as np
from numpy.typing import NDArray

from raytag.data.simulate.ancestry import trace
from raytag.data.simulate.association import Direction, delta_r, pairs
from raytag.data.simulate.columns import Table
from raytag.data.simulate.generator import Events

__all__ = ["Jets", "cluster"]

NEUTRINOS = (12, 14, 16)
LEPTONS = (11, 13)
RADIUS = 0.4
# GeV; well below the softest measured jet kept, which smearing can lift by half.
MIN_PARTICLE_JET_PT = 12.0
MAX_ETA = 2.5
# Constituents that cannot matter to jets inside MAX_ETA are left out to save time.
MIN_CONSTITUENT_PT = 0.1
MAX_CONSTITUENT_ETA = 3.2
PROMPT_LEPTON_MIN_PT = 5.0
PROMPT_LEPTON_CONE = 0.3

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Jets(Table):
    """Measured jets, sorted by event: pT and mass in GeV, and whether a prompt lepton lies inside the jet."""

    event: NDArray[np.int64]
    pt: Floats
    eta: Floats
    phi: Floats
    mass: Floats
    has_prompt_lepton: NDArray[np.bool_]

    @property
    def direction(self) -> Direction:
        """Event, eta and phi."""
        return self.event, self.eta, self.phi


def cluster(events: Events, rng: np.random.Generator, pt_min: float, pt_max: float) -> Jets:
    """Return the jets whose measured pT in GeV lies in a range and |eta| below 2.5."""
    constituents, prompt_leptons = _constituents(events)
    event, px, py, pz, energy = _anti_kt(events, constituents)
    true_pt = np.hypot(px, py)
    mass = np.sqrt(np.maximum(energy**2 - true_pt**2 - pz**2, 0))
    pt = true_pt * np.clip(rng.normal(1, _relative_resolution(true_pt)), 0.2, 3)
    angle_resolution = 0.005 + 0.25 / true_pt
    eta = np.arcsinh(pz / true_pt) + rng.normal(0, angle_resolution)
    phi = np.arctan2(py, px) + rng.normal(0, angle_resolution)
    has_lepton = _near_lepton((event, eta, phi), events, prompt_leptons)
    jets = Jets(event, pt, eta, phi, mass, has_lepton)
    return jets.select((pt > pt_min) & (pt < pt_max) & (np.abs(eta) < MAX_ETA))


def _relative_resolution(pt: Floats) -> Floats:
    """Jet energy resolution with constant, stochastic and noise terms like those of ATLAS (arXiv:2007.02645)."""
    return np.sqrt(0.04**2 + 0.7**2 / pt + (3.0 / pt) ** 2)


def _constituents(events: Events) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows that make jets, and the electrons and muons that come from no hadron."""
    final = events.final[~np.isin(events.abs_id[events.final], NEUTRINOS)]
    pt = events.pt[final]
    final = final[
        (pt > MIN_CONSTITUENT_PT) & (np.abs(events.pz[final]) < np.sinh(MAX_CONSTITUENT_ETA) * np.maximum(pt, 1e-9))
    ]
    is_prompt = np.isin(events.abs_id[final], LEPTONS)
    is_prompt[is_prompt] = ~trace(events, final[is_prompt]).has_hadron
    return final[~is_prompt], final[is_prompt]


def _anti_kt(events: Events, rows: NDArray[np.intp]) -> tuple[NDArray[np.int64], Floats, Floats, Floats, Floats]:
    fastjet._swig.ClusterSequence.set_fastjet_banner_stream(None)  # a banner per process would break the progress bar
    counts = np.bincount(events.event[rows], minlength=events.num_events)
    columns = {"px": events.px, "py": events.py, "pz": events.pz, "E": events.energy}
    particles = ak.zip(
        {name: ak.unflatten(values[rows], counts) for name, values in columns.items()}, with_name="Momentum4D"
    )
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, RADIUS)
    jets = fastjet.ClusterSequence(particles, definition).inclusive_jets(min_pt=MIN_PARTICLE_JET_PT)
    event = np.repeat(np.arange(events.num_events), ak.to_numpy(ak.num(jets)))
    px, py, pz, energy = (ak.to_numpy(ak.flatten(jets[name])) for name in columns)
    return event, px, py, pz, energy


def _near_lepton(jets: Direction, events: Events, leptons: NDArray[np.intp]) -> NDArray[np.bool_]:
    leptons = leptons[events.pt[leptons] > PROMPT_LEPTON_MIN_PT]
    objects = (events.event[leptons], events.eta(leptons), events.phi(leptons))
    jet, item = pairs(jets[0], objects[0])
    is_near = np.zeros(len(jets[0]), dtype=bool)
    is_near[jet[delta_r(jets, jet, objects, item) < PROMPT_LEPTON_CONE]] = True
    return is_near
