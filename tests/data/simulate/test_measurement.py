"""Tracks as they enter the files: order, vertices, neighbours."""

from __future__ import annotations

import numpy as np

from raytag.data.schema import MAX_TRACKS, TRACK_DTYPE, Origin
from raytag.data.simulate.hits import draw_hits
from raytag.data.simulate.measurement import order_tracks
from raytag.data.simulate.tracks import TruthTracks
from raytag.data.simulate.vertices import vertex_index


def tracks_at(x, origin=None, phi=None):
    size = len(x)
    zeros = np.zeros(size)
    return TruthTracks(
        event=np.zeros(size, dtype=np.int64),
        pt=np.full(size, 5.0),
        eta=zeros,
        phi=zeros if phi is None else np.array(phi),
        charge=np.ones(size, dtype=np.int8),
        d0=zeros,
        z0=zeros,
        radius=zeros,
        x=np.array(x, dtype=float),
        y=zeros,
        z=zeros,
        origin=np.full(size, Origin.PRIMARY, dtype=np.int8) if origin is None else np.array(origin, dtype=np.int8),
        lepton=np.zeros(size, dtype=np.int8),
    )


def test_vertices_are_numbered_within_each_jet():
    tracks = tracks_at([0.0, 3.0, 3.05, 9.0, 0.02, 3.0], phi=[0.0] * 6)

    index = vertex_index(tracks, np.array([0, 0, 0, 0, 1, 1]))

    assert index.tolist() == [0, 1, 1, 2, 0, 1]


def test_pileup_and_fakes_have_no_vertex():
    tracks = tracks_at([np.nan, 0.0, np.nan], origin=[Origin.PILEUP, Origin.PRIMARY, Origin.FAKE])

    assert vertex_index(tracks, np.zeros(3, dtype=int)).tolist() == [-2, 0, -2]


def test_tracks_come_in_falling_significance_and_at_most_forty():
    rows = np.zeros(MAX_TRACKS + 12, dtype=TRACK_DTYPE)
    rows["valid"] = True
    rows["valid"][7] = False
    rows["IP3D_signed_d0_significance"] = np.linspace(-30, 20, len(rows))
    jet = np.repeat([0, 1], [5, len(rows) - 5])

    order = order_tracks(rows, jet)

    size = np.abs(rows["IP3D_signed_d0_significance"][order])
    assert np.bincount(jet[order]).tolist() == [5, MAX_TRACKS]
    assert all(np.all(np.diff(size[jet[order] == number]) <= 0) for number in (0, 1))
    assert 7 not in order


def test_close_tracks_of_a_jet_share_hits():
    pairs = 2_000
    phi = np.tile([0.0, 0.001], pairs)
    tracks = tracks_at(np.zeros(2 * pairs), phi=phi)

    together = draw_hits(tracks, np.repeat(np.arange(pairs), 2), np.random.default_rng(1))
    apart = draw_hits(tracks, np.arange(2 * pairs), np.random.default_rng(1))

    assert together.innermost_shared.mean() > 0.3
    assert apart.innermost_shared.sum() == 0
