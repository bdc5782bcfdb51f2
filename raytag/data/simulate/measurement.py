"""From truth tracks to the columns of the GN2 layout: smearing, hits, signs, lepton identification."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from raytag.data.schema import MAX_TRACKS, ORIGIN_LABEL, TRACK_DTYPE, VALID, VERTEX_LABEL
from raytag.data.simulate.clustering import Jets
from raytag.data.simulate.helix import delta_phi, lifetime_signed
from raytag.data.simulate.hits import HitPattern, draw_hits
from raytag.data.simulate.resolution import VERTEX_SIGMA, Resolution, resolution, tailed_normal
from raytag.data.simulate.tracks import ELECTRON, MAX_D0, MAX_Z0_SIN_THETA, MUON, TruthTracks
from raytag.data.simulate.vertices import vertex_index

__all__ = ["MIN_SILICON_HITS", "measure", "order_tracks"]

# The choice of this simulation, whose hits are drawn from rough efficiencies.
MIN_SILICON_HITS = 7
GEV_PER_MEV = 1e-3

Floats = NDArray[np.float64]


def measure(tracks: TruthTracks, jet: NDArray[np.intp], jets: Jets, rng: np.random.Generator) -> NDArray[np.void]:
    """Return one row of the track layout for each truth track; ``jet`` (sorted) is the row of its jet.

    ``valid`` says whether the measured track has enough silicon hits and small enough impact parameters.
    """
    hits = draw_hits(tracks, jet, rng)
    rows = np.zeros(len(tracks), dtype=TRACK_DTYPE)
    _fill_hits(rows, hits)
    _fill_parameters(rows, tracks, jets.select(jet), _quoted(tracks, hits), rng)
    rows["leptonID"] = _lepton_id(tracks, rng)
    rows[ORIGIN_LABEL] = tracks.origin
    rows[VERTEX_LABEL] = vertex_index(tracks, jet)
    rows[VALID] = (
        (hits.pixel + hits.sct >= MIN_SILICON_HITS)
        & (np.abs(rows["d0"]) < MAX_D0)
        & (np.abs(rows["z0SinTheta"]) < MAX_Z0_SIN_THETA)
    )
    return rows


def order_tracks(rows: NDArray[np.void], jet: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the valid tracks jet by jet in falling |signed d0 significance|, at most 40 of each jet."""
    significance = np.abs(rows["IP3D_signed_d0_significance"])
    order = np.lexsort((-significance, jet))
    order = order[rows[VALID][order].astype(bool)]
    sorted_jet = jet[order]
    rank = np.arange(len(order)) - np.searchsorted(sorted_jet, sorted_jet, side="left")
    kept: NDArray[np.intp] = order[rank < MAX_TRACKS]
    return kept


def _quoted(tracks: TruthTracks, hits: HitPattern) -> Resolution:
    clean = resolution(tracks.pt, tracks.eta)
    factor = hits.uncertainty_factor
    return Resolution(
        d0=clean.d0 * factor,
        z0_sin_theta=clean.z0_sin_theta * np.where(hits.innermost == 0, 1.6, 1.0),
        phi=clean.phi * np.sqrt(factor),
        theta=clean.theta,
        relative_qop=clean.relative_qop,
    )


def _fill_parameters(
    rows: NDArray[np.void], tracks: TruthTracks, jets: Jets, quoted: Resolution, rng: np.random.Generator
) -> None:
    """Smear the parameters and write them beside their estimated uncertainties."""
    is_electron = tracks.lepton == ELECTRON

    def smeared(truth: Floats, sigma: Floats) -> Floats:
        return truth + sigma * tailed_normal(rng, is_electron)

    def estimated(sigma: Floats) -> Floats:
        return sigma * np.exp(rng.normal(0, 0.06, len(tracks)))

    sin_theta = 1 / np.cosh(tracks.eta)
    true_qop = tracks.charge * sin_theta / tracks.pt * GEV_PER_MEV
    d0 = smeared(tracks.d0, _without_vertex(quoted.d0, VERTEX_SIGMA[0]))
    z0 = smeared(tracks.z0 * sin_theta, _without_vertex(quoted.z0_sin_theta, VERTEX_SIGMA[2] * sin_theta))
    theta = smeared(_theta(tracks.eta), quoted.theta)
    dphi = delta_phi(smeared(tracks.phi, quoted.phi), jets.phi)
    deta = -np.log(np.tan(np.clip(theta, 1e-3, np.pi - 1e-3) / 2)) - jets.eta
    rows["d0"] = d0
    rows["z0SinTheta"] = z0
    rows["dphi"] = dphi
    rows["deta"] = deta
    rows["qOverP"] = smeared(true_qop, np.abs(true_qop) * quoted.relative_qop)
    rows["IP3D_signed_d0_significance"] = lifetime_signed(d0, dphi) / estimated(quoted.d0)
    rows["IP3D_signed_z0_significance"] = lifetime_signed(z0, deta, is_longitudinal=True) / estimated(
        quoted.z0_sin_theta
    )
    rows["phiUncertainty"] = estimated(quoted.phi)
    rows["thetaUncertainty"] = estimated(quoted.theta)
    rows["qOverPUncertainty"] = estimated(np.abs(true_qop) * quoted.relative_qop)


def _fill_hits(rows: NDArray[np.void], hits: HitPattern) -> None:
    rows["numberOfPixelHits"] = hits.pixel
    rows["numberOfSCTHits"] = hits.sct
    rows["numberOfInnermostPixelLayerHits"] = hits.innermost
    rows["numberOfNextToInnermostPixelLayerHits"] = hits.next_to_innermost
    rows["numberOfInnermostPixelLayerSharedHits"] = hits.innermost_shared
    rows["numberOfInnermostPixelLayerSplitHits"] = hits.innermost_split
    rows["numberOfPixelSharedHits"] = hits.pixel_shared
    rows["numberOfPixelSplitHits"] = hits.pixel_split
    rows["numberOfSCTSharedHits"] = hits.sct_shared


def _lepton_id(tracks: TruthTracks, rng: np.random.Generator) -> NDArray[np.int8]:
    """Identify muons above 3 GeV and electrons above 2 GeV with the efficiencies of soft-lepton working points."""
    draw = rng.random(len(tracks))
    is_muon = (tracks.lepton == MUON) & (tracks.pt > 3) & (draw < 0.92)
    is_electron = (tracks.lepton == ELECTRON) & (tracks.pt > 2) & (draw < 0.5)
    return np.select([is_muon, is_electron], [MUON, ELECTRON], 0).astype(np.int8)


def _theta(eta: Floats) -> Floats:
    return 2 * np.arctan(np.exp(-eta))


def _without_vertex(sigma: Floats, vertex_sigma: Floats | float) -> Floats:
    """Return the track's own share of an uncertainty that contains the vertex's."""
    return np.sqrt(np.maximum(sigma**2 - np.square(vertex_sigma), 0))
