"""Charged particles as the tracker could see them: truth tracks, conversions, efficiency, fakes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raytag.data.schema import Origin
from raytag.data.simulate.ancestry import trace
from raytag.data.simulate.clustering import Jets
from raytag.data.simulate.columns import Table
from raytag.data.simulate.generator import Events, Generator
from raytag.data.simulate.helix import perigee

__all__ = ["TruthTracks", "fake_tracks", "is_selected", "truth_tracks"]

ELECTRON, MUON, PHOTON = 11, 13, 22

# Cuts on true tracks: loose ones to drop early what cannot matter, then those of GN1 (ATL-PHYS-PUB-2022-027). |d0| is
# cut loosely first because the tracks of the minimum-bias pool are moved to other vertices later.
LOOSE_MIN_PT = 0.45
LOOSE_MAX_ETA = 2.6
LOOSE_MAX_D0 = 5.0
MIN_PT = 0.5
MAX_ETA = 2.5
MAX_D0 = 3.5
MAX_Z0_SIN_THETA = 5.0

# Beam pipe and the first three pixel layers: radius in mm, conversion probability of a photon at normal incidence.
MATERIAL_RADII = np.array([24.0, 33.3, 50.5, 88.5])
CONVERSION_PROBABILITIES = np.array([0.006, 0.015, 0.012, 0.012])
MIN_PHOTON_PT = 1.0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TruthTracks(Table):
    """T tracks before measurement.

    pT in GeV; d0, z0 with respect to the reconstructed primary vertex, the radius and the point of production in mm;
    ``lepton`` is 11, 13 or 0. Points of production of pile-up and fakes are NaN.
    """

    event: NDArray[np.int64]
    pt: Floats
    eta: Floats
    phi: Floats
    charge: NDArray[np.int8]
    d0: Floats
    z0: Floats
    radius: Floats
    x: Floats
    y: Floats
    z: Floats
    origin: NDArray[np.int8]
    lepton: NDArray[np.int8]


@dataclass(frozen=True)
class _Charged:
    """Charged particles where they were made: rows like :class:`TruthTracks`, momenta in GeV."""

    event: NDArray[np.int64]
    momentum: tuple[Floats, Floats, Floats]
    vertex: tuple[Floats, Floats, Floats]
    charge: NDArray[np.int8]
    origin: NDArray[np.int8]
    lepton: NDArray[np.int8]


def truth_tracks(
    generator: Generator,
    events: Events,
    reference: tuple[Floats, Floats, Floats],
    rng: np.random.Generator,
) -> TruthTracks:
    """Return the tracks found among the charged particles and photon conversions of some events.

    Parameters
    ----------
    generator
        Knows the charges.
    events
        The events.
    reference
        x, y, z in mm of each event's reconstructed vertex; d0 and z0 refer to it.
    rng
        Draws conversions and losses.
    """
    found = [
        _at_perigee(particles, reference) for particles in (_charged(generator, events), *_conversions(events, rng))
    ]
    tracks = TruthTracks.concatenate(found)
    is_found = rng.random(len(tracks)) < efficiency(tracks)
    return tracks.select(is_found & (tracks.pt > LOOSE_MIN_PT) & (np.abs(tracks.d0) < LOOSE_MAX_D0))


def efficiency(tracks: TruthTracks) -> Floats:
    """Probability to find a track: falls with |eta|, for soft tracks, for electrons, and with the radius of production.

    Tracks made beyond 300 mm leave too few hits.
    """
    value = 0.94 - 0.10 * (np.abs(tracks.eta) / 2.5) ** 2 - 0.08 * np.exp(-(tracks.pt - 0.5) / 0.5)
    value = np.where(tracks.lepton == ELECTRON, 0.9 * value, value)
    return value * np.clip(1 - np.maximum(tracks.radius - 25, 0) / 275, 0, 1)


def is_selected(tracks: TruthTracks) -> NDArray[np.bool_]:
    """Whether true parameters pass the track selection; measured impact parameters have to pass it again."""
    return (
        (tracks.pt > MIN_PT)
        & (np.abs(tracks.eta) < MAX_ETA)
        & (np.abs(tracks.d0) < MAX_D0)
        & (np.abs(tracks.z0) < MAX_Z0_SIN_THETA * np.cosh(tracks.eta))
    )


def fake_tracks(jets: Jets, rng: np.random.Generator) -> TruthTracks:
    """Return combinations of hits of several particles, the more the harder the jet, with wide impact parameters."""
    jet = np.repeat(np.arange(len(jets)), rng.poisson(0.07 * (1 + jets.pt / 100)))
    number = len(jet)
    nowhere = np.full(number, np.nan)
    return TruthTracks(
        event=jets.event[jet],
        pt=0.5 + rng.exponential(1.5, number),
        eta=jets.eta[jet] + rng.normal(0, 0.2, number),
        phi=jets.phi[jet] + rng.normal(0, 0.2, number),
        charge=rng.choice(np.array([-1, 1], dtype=np.int8), number),
        d0=rng.normal(0, 1.0, number),
        z0=rng.normal(0, 2.0, number),
        radius=np.zeros(number),
        x=nowhere,
        y=nowhere,
        z=nowhere,
        origin=np.full(number, Origin.FAKE, dtype=np.int8),
        lepton=np.zeros(number, dtype=np.int8),
    )


def _charged(generator: Generator, events: Events) -> _Charged:
    pt = events.pt[events.final]
    rows = events.final[(pt > LOOSE_MIN_PT)]
    rows = rows[np.abs(events.eta(rows)) < LOOSE_MAX_ETA]
    charge = generator.charges(events.pdg_id[rows])
    rows, charge = rows[charge != 0], charge[charge != 0]
    abs_id = events.abs_id[rows]
    return _Charged(
        event=events.event[rows],
        momentum=(events.px[rows], events.py[rows], events.pz[rows]),
        vertex=(events.x[rows], events.y[rows], events.z[rows]),
        charge=charge.astype(np.int8),
        origin=trace(events, rows).origin,
        lepton=np.where(np.isin(abs_id, (ELECTRON, MUON)), abs_id, 0).astype(np.int8),
    )


def _conversions(events: Events, rng: np.random.Generator) -> tuple[_Charged, _Charged]:
    """Return the positrons and the electrons of photons that convert in the beam pipe or a pixel layer."""
    rows = events.final[events.abs_id[events.final] == PHOTON]
    rows = rows[(events.pt[rows] > MIN_PHOTON_PT)]
    rows = rows[np.abs(events.eta(rows)) < MAX_ETA]
    path = np.hypot(1, events.pz[rows] / events.pt[rows])
    does_convert = rng.random((len(rows), len(MATERIAL_RADII))) < CONVERSION_PROBABILITIES * path[:, None]
    radius = MATERIAL_RADII[does_convert.argmax(axis=1)]
    keep = does_convert.any(axis=1) & (np.hypot(events.x[rows], events.y[rows]) < radius)
    rows, radius = rows[keep], radius[keep]
    vertex = _where_crossed(events, rows, radius)
    share = rng.uniform(0.05, 0.95, len(rows))

    def leg(fraction: Floats, charge: int) -> _Charged:
        return _Charged(
            event=events.event[rows],
            momentum=(events.px[rows] * fraction, events.py[rows] * fraction, events.pz[rows] * fraction),
            vertex=vertex,
            charge=np.full(len(rows), charge, dtype=np.int8),
            origin=np.full(len(rows), Origin.OTHER_SECONDARY, dtype=np.int8),
            lepton=np.full(len(rows), ELECTRON, dtype=np.int8),
        )

    return leg(share, 1), leg(1 - share, -1)


def _where_crossed(events: Events, rows: NDArray[np.intp], radius: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the points in mm where straight lines from the particles' vertices cross cylinders."""
    pt, x, y = events.pt[rows], events.x[rows], events.y[rows]
    unit_x, unit_y = events.px[rows] / pt, events.py[rows] / pt
    along = x * unit_x + y * unit_y
    length = -along + np.sqrt(np.maximum(along**2 + radius**2 - x**2 - y**2, 0))
    return x + length * unit_x, y + length * unit_y, events.z[rows] + length * events.pz[rows] / pt


def _at_perigee(particles: _Charged, reference: tuple[Floats, Floats, Floats]) -> TruthTracks:
    event = particles.event
    x, y, z = particles.vertex
    px, py, pz = particles.momentum
    pt = np.hypot(px, py)
    at_event = (reference[0][event], reference[1][event], reference[2][event])
    d0, z0, phi = perigee(particles.momentum, particles.charge, particles.vertex, at_event)
    return TruthTracks(
        event=event,
        pt=pt,
        eta=np.arcsinh(pz / pt),
        phi=phi,
        charge=particles.charge,
        d0=d0,
        z0=z0,
        radius=np.hypot(x, y),
        x=x,
        y=y,
        z=z,
        origin=particles.origin,
        lepton=particles.lepton,
    )
