"""Minimum-bias events: a pool made once, laid over hard events as pile-up and as underlying event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from math import erf, sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raytag.data.schema import Origin
from raytag.data.simulate.association import expand
from raytag.data.simulate.generator import MINIMUM_BIAS, Generator
from raytag.data.simulate.helix import shift_reference
from raytag.data.simulate.tracks import MAX_Z0_SIN_THETA, TruthTracks, truth_tracks

__all__ = ["MinimumBiasPool", "load_part", "make_minimum_bias", "save_part"]

# 38 inelastic interactions per crossing, about the mean of 2017 (all of Run 2: 34). Only those that are not diffractive
# are simulated: 57 of 78 mb, rounded from what Pythia8 says at 13 TeV (56.4 of 78.0; measured are 78.1 ± 2.9 mb
# inelastic, arXiv:1606.02625). Their distance in z from the primary vertex is Gaussian with sqrt(2) times the 38 mm of
# the beam spot; inside the window it is taken as flat, and hardly a track from outside is selected.
MEAN_INTERACTIONS = 38.0 * 57 / 78
DISTANCE_SIGMA = 54.0
DISTANCE_WINDOW = 30.0
BEAM_WIDTH = 0.012
# Minimum-bias events at the primary vertex that give jets as many tracks as multi-parton interactions do.
UNDERLYING_EVENTS = 1.2

# The pool uses chunk numbers that no chunk of a production reaches.
_FIRST_CHUNK = 900_000

Floats = NDArray[np.float64]


def make_minimum_bias(seed: int, part: int, num_events: int) -> TruthTracks:
    """Simulate one part of the pool; d0 and z0 refer to each event's own vertex."""
    generator = Generator(MINIMUM_BIAS, seed, _FIRST_CHUNK + part)
    rng = np.random.default_rng((seed, _FIRST_CHUNK + part))
    at_vertex = (np.zeros(num_events), np.zeros(num_events), np.zeros(num_events))
    return truth_tracks(generator, generator.generate(num_events), at_vertex, rng)


@dataclass(frozen=True)
class MinimumBiasPool:
    """Tracks of minimum-bias events, sorted by event. Every draw is turned by a random azimuth."""

    tracks: TruthTracks
    starts: NDArray[np.intp]
    counts: NDArray[np.intp]

    @classmethod
    def join(cls, parts: Sequence[tuple[TruthTracks, int]]) -> MinimumBiasPool:
        """Build the pool from parts with their numbers of events."""
        offsets = np.cumsum([0, *(num_events for _, num_events in parts)])
        tracks = TruthTracks.concatenate(
            [replace(part, event=part.event + offset) for (part, _), offset in zip(parts, offsets[:-1], strict=True)]
        )
        tracks = tracks.select(np.argsort(tracks.event, kind="stable"))
        counts = np.bincount(tracks.event, minlength=int(offsets[-1]))
        return cls(tracks, np.cumsum(counts) - counts, counts)

    def pileup(self, num_events: int, rng: np.random.Generator) -> TruthTracks:
        """Return the pile-up tracks of some events."""
        mean = MEAN_INTERACTIONS * erf(DISTANCE_WINDOW / DISTANCE_SIGMA / sqrt(2))
        event, draw, row, angle = self._draw(num_events, mean, rng)
        vertex_x, vertex_y = rng.normal(0, BEAM_WIDTH, (2, len(angle)))
        vertex_z = rng.uniform(-DISTANCE_WINDOW, DISTANCE_WINDOW, len(angle))
        # Most tracks miss the primary vertex in z: leave them before the costly columns are gathered.
        distance = self.tracks.z0[row] + vertex_z[draw]
        is_near = np.abs(distance) < (MAX_Z0_SIN_THETA + 1) * np.cosh(self.tracks.eta[row])
        draw, row = draw[is_near], row[is_near]
        tracks = self._turned(event[draw], row, angle[draw])
        vertex = (-vertex_x[draw], -vertex_y[draw], -vertex_z[draw])
        d0, z0 = shift_reference((tracks.d0, tracks.z0, tracks.phi), tracks.eta, vertex)
        nowhere = np.full(len(tracks), np.nan)
        origin = np.full(len(tracks), Origin.PILEUP, dtype=np.int8)
        return replace(tracks, d0=d0, z0=z0, x=nowhere, y=nowhere, z=nowhere, origin=origin)

    def underlying(self, reference: tuple[Floats, Floats, Floats], rng: np.random.Generator) -> TruthTracks:
        """Return minimum-bias tracks from the hard vertices, as seen from the reconstructed ones at ``reference``."""
        event, draw, row, angle = self._draw(len(reference[0]), UNDERLYING_EVENTS, rng)
        tracks = self._turned(event[draw], row, angle[draw])
        at_event = (reference[0][tracks.event], reference[1][tracks.event], reference[2][tracks.event])
        d0, z0 = shift_reference((tracks.d0, tracks.z0, tracks.phi), tracks.eta, at_event)
        return replace(tracks, d0=d0, z0=z0)

    def _draw(
        self, num_events: int, mean: float, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.intp], NDArray[np.intp], Floats]:
        """Return the event and the azimuth of each draw, then the draw and the pool row of each drawn track."""
        event = np.repeat(np.arange(num_events), rng.poisson(mean, num_events))
        source = rng.integers(0, len(self.counts), len(event))
        angle = rng.uniform(0, 2 * np.pi, len(event))
        draw, row = expand(self.starts[source], self.counts[source])
        return event, draw, row, angle

    def _turned(self, event: NDArray[np.int64], rows: NDArray[np.intp], angle: Floats) -> TruthTracks:
        tracks = self.tracks.select(rows)
        cos, sin = np.cos(angle), np.sin(angle)
        return replace(
            tracks,
            event=event,
            phi=(tracks.phi + angle + np.pi) % (2 * np.pi) - np.pi,
            x=cos * tracks.x - sin * tracks.y,
            y=sin * tracks.x + cos * tracks.y,
        )


def save_part(path: Path, tracks: TruthTracks, num_events: int) -> None:
    """Write one part of the pool."""
    with path.open("wb") as file:
        np.savez(file, num_events=num_events, **{field.name: getattr(tracks, field.name) for field in fields(tracks)})


def load_part(path: Path) -> tuple[TruthTracks, int]:
    """Read one part of the pool: its tracks and its number of events."""
    with np.load(path) as columns:
        return TruthTracks(**{field.name: columns[field.name] for field in fields(TruthTracks)}), int(
            columns["num_events"]
        )
