"""One piece of a production: events to jets and tracks, a function of the settings and the chunk's number alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from raytag.data.schema import JET_DTYPE, JET_LABEL, VALID
from raytag.data.simulate.association import nearest
from raytag.data.simulate.clustering import Jets, cluster
from raytag.data.simulate.generator import Events, Generator
from raytag.data.simulate.labels import JetLabels, label_jets
from raytag.data.simulate.measurement import measure, order_tracks
from raytag.data.simulate.packed import PackedJets
from raytag.data.simulate.pileup import MinimumBiasPool
from raytag.data.simulate.resampling import kinematic_bin, resample
from raytag.data.simulate.resolution import VERTEX_SIGMA
from raytag.data.simulate.settings import Settings
from raytag.data.simulate.splits import is_test
from raytag.data.simulate.tracks import TruthTracks, fake_tracks, is_selected, truth_tracks

__all__ = ["simulate_chunk"]

# Events held in memory at once (about 1,000 particles each).
EVENTS_PER_BATCH = 500


@dataclass(frozen=True)
class _Candidates:
    """Jets with the truth tracks in their cones; ``jet`` (T,) is the row of each track's jet, sorted."""

    jets: Jets
    labels: JetLabels
    tracks: TruthTracks
    jet: NDArray[np.intp]

    @staticmethod
    def concatenate(parts: Sequence[_Candidates]) -> _Candidates:
        """Join batches."""
        offsets = np.cumsum([0, *(len(part.jets) for part in parts[:-1])])
        return _Candidates(
            Jets.concatenate([part.jets for part in parts]),
            JetLabels.concatenate([part.labels for part in parts]),
            TruthTracks.concatenate([part.tracks for part in parts]),
            np.concatenate([part.jet + offset for part, offset in zip(parts, offsets, strict=True)]),
        )

    def select(self, rows: NDArray[np.intp]) -> _Candidates:
        """Return some jets, in the order of ``rows``, with their tracks."""
        place = np.full(len(self.jets), -1)
        place[rows] = np.arange(len(rows))
        items = np.flatnonzero(place[self.jet] >= 0)
        items = items[np.argsort(place[self.jet[items]], kind="stable")]
        return _Candidates(
            self.jets.select(rows), self.labels.select(rows), self.tracks.select(items), place[self.jet[items]]
        )


def simulate_chunk(settings: Settings, chunk: int, pool: MinimumBiasPool) -> PackedJets:
    """Simulate one chunk and resample its training and validation jets; test jets are not resampled.

    Jets without a track in their cone, and those with a prompt lepton inside, are in no split.
    Resampling chunk by chunk saves the measurement of the tracks of the jets that are dropped.
    """
    rng = np.random.default_rng((settings.seed, chunk))
    generator = Generator(settings.recipe.commands, settings.seed, chunk, is_fast=not settings.is_full)
    batches = []
    for start in range(0, settings.events_per_chunk, EVENTS_PER_BATCH):
        events = generator.generate(min(EVENTS_PER_BATCH, settings.events_per_chunk - start))
        batch = _reconstruct(settings, generator, events, pool, rng)
        first_event = chunk * settings.events_per_chunk + start
        batches.append(replace(batch, jets=replace(batch.jets, event=batch.jets.event + first_event)))
    candidates = _Candidates.concatenate(batches)
    return _measured(candidates.select(_kept(candidates, settings, rng)), rng)


def _reconstruct(
    settings: Settings, generator: Generator, events: Events, pool: MinimumBiasPool, rng: np.random.Generator
) -> _Candidates:
    """Return the jets of some events that have tracks and no prompt lepton inside."""
    jets = cluster(events, rng, settings.recipe.pt_min, settings.recipe.pt_max)
    jets = jets.select(~jets.has_prompt_lepton)
    x, y, z = (rng.normal(0, sigma, events.num_events) for sigma in VERTEX_SIGMA)
    tracks = [
        truth_tracks(generator, events, (x, y, z), rng),
        pool.pileup(events.num_events, rng),
        fake_tracks(jets, rng),
    ]
    if not settings.is_full:
        tracks.append(pool.underlying((x, y, z), rng))
    found = TruthTracks.concatenate(tracks)
    found = found.select(is_selected(found))
    jet, item = nearest(jets.direction, (found.event, found.eta, found.phi), _track_cone(jets))
    hardest_first = np.lexsort((-found.pt[item], jet))
    jet, item = jet[hardest_first], item[hardest_first]
    candidates = _Candidates(jets, label_jets(events, jets.direction), found.select(item), jet)
    return candidates.select(np.unique(jet))


def _track_cone(jets: Jets) -> NDArray[np.float64]:
    """Radius of the cone that gives a jet its tracks; shrinks with pT, as in ATLAS flavour tagging."""
    return 0.239 + np.exp(-1.220 - 1.64e-2 * jets.pt)


def _kept(candidates: _Candidates, settings: Settings, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return the jets that stay, in random order: all test jets, the others resampled."""
    recipe = settings.recipe
    test = is_test(candidates.jets.event)
    others = np.flatnonzero(~test)
    bins = kinematic_bin(candidates.jets, recipe.pt_min, recipe.pt_max)[others]
    resampled = others[resample(bins, candidates.labels.flavour[others], recipe.target, rng)]
    return rng.permutation(np.concatenate([resampled, np.flatnonzero(test)]))


def _measured(candidates: _Candidates, rng: np.random.Generator) -> PackedJets:
    """Measure the tracks and return jets and tracks in the GN2 layout."""
    num_jets = len(candidates.jets)
    tracks = measure(candidates.tracks, candidates.jet, candidates.jets, rng)
    ordered = order_tracks(tracks, candidates.jet)
    num_valid = np.bincount(candidates.jet[tracks[VALID]], minlength=num_jets)
    return PackedJets(
        _jet_rows(candidates.jets, candidates.labels, num_valid),
        tracks[ordered],
        np.bincount(candidates.jet[ordered], minlength=num_jets),
    )


def _jet_rows(jets: Jets, labels: JetLabels, num_tracks: NDArray[np.int64]) -> NDArray[np.void]:
    """Return jets in the GN2 layout; pT and mass go from GeV to MeV."""
    rows = np.zeros(len(jets), dtype=JET_DTYPE)
    rows["pt"] = rows["pt_btagJes"] = jets.pt * 1e3
    rows["eta"] = rows["eta_btagJes"] = jets.eta
    rows["absEta_btagJes"] = np.abs(jets.eta)
    rows["mass"] = jets.mass * 1e3
    rows["HadronConeExclTruthLabelPt"] = labels.hadron_pt * 1e3
    rows["HadronConeExclTruthLabelLxy"] = labels.hadron_lxy
    rows["HadronConeExclTruthLabelID"] = labels.code
    rows["HadronConeExclExtendedTruthLabelID"] = labels.extended
    rows[JET_LABEL] = labels.flavour
    rows["n_tracks"] = num_tracks
    rows["eventNumber"] = jets.event
    return rows
