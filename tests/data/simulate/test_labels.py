"""Labels of hand-made events."""

from __future__ import annotations

import numpy as np
import pytest

from raytag.data.schema import Flavour, Origin
from raytag.data.simulate.ancestry import carries_quark, trace
from raytag.data.simulate.generator import Events
from raytag.data.simulate.labels import label_jets, last_of_chain

B_MESON, B_STAR, D_MESON, KAON_SHORT, TAU, PION, UP = 521, 513, 421, 310, 15, 211, 2


def events_of(*particles):
    """Make one event of (PDG number, status, mother, (first daughter, last daughter), pT, phi, x) at eta 0."""
    pdg_id, status, mother, daughters, pt, phi, x = (np.array(column) for column in zip(*particles, strict=True))
    size = len(pdg_id)
    return Events(
        num_events=1,
        event=np.zeros(size, dtype=np.int64),
        pdg_id=pdg_id,
        status=status,
        mother=mother,
        first_daughter=daughters[:, 0],
        last_daughter=daughters[:, 1],
        px=pt * np.cos(phi),
        py=pt * np.sin(phi),
        pz=np.zeros(size),
        energy=pt,
        x=x.astype(float),
        y=np.zeros(size),
        z=np.zeros(size),
    )


def jets_at(*phi):
    return np.zeros(len(phi), dtype=np.int64), np.zeros(len(phi)), np.array(phi)


# 0 u quark, 1 excited B, 2 B, 3 D from B, 4 pion from D, 5 D alone, 6 tau, 7 soft D, 8 pion from K0 from D, 9 its K0
EVENT = events_of(
    (UP, -23, 0, (1, 1), 90.0, 0.0, 0.0),
    (B_STAR, -83, 0, (2, 2), 50.0, 0.0, 0.0),
    (B_MESON, -91, 1, (3, 3), 48.0, 0.05, 0.0),
    (D_MESON, -91, 2, (4, 4), 30.0, 0.0, 5.0),
    (PION, 91, 3, (0, -1), 10.0, 0.0, 7.0),
    (D_MESON, -83, 0, (9, 9), 20.0, 1.0, 0.0),
    (TAU, -91, 0, (0, -1), 25.0, 1.1, 0.0),
    (D_MESON, -83, 0, (0, -1), 4.0, 2.0, 0.0),
    (PION, 91, 9, (0, -1), 3.0, 1.0, 60.0),
    (KAON_SHORT, -91, 5, (8, 8), 8.0, 1.0, 1.5),
)


def test_jets_are_b_then_c_then_tau_then_light():
    labels = label_jets(EVENT, jets_at(0.1, 1.05, 2.0, -2.0))

    assert labels.flavour.tolist() == [Flavour.BJETS, Flavour.CJETS, Flavour.UJETS, Flavour.UJETS]
    assert labels.code.tolist() == [5, 4, 0, 0]


def test_a_tau_alone_makes_a_tau_jet():
    labels = label_jets(EVENT, jets_at(1.35))

    assert labels.flavour.tolist() == [Flavour.TAUJETS]


def test_a_hadron_goes_to_its_nearest_jet_only():
    labels = label_jets(EVENT, jets_at(-0.2, 0.1))

    assert labels.code.tolist() == [0, 5]


def test_the_label_keeps_momentum_and_flight_length_of_its_hadron():
    labels = label_jets(EVENT, jets_at(0.1, -2.0))

    assert labels.hadron_pt[0] == pytest.approx(48.0)
    assert labels.hadron_lxy[0] == pytest.approx(5.0)
    assert np.isnan(labels.hadron_lxy[1])


def test_two_hadrons_in_a_jet_make_the_extended_label():
    second = events_of(
        (B_MESON, -83, 0, (2, 2), 40.0, 0.1, 0.0),
        (-B_MESON, -83, 0, (2, 2), 30.0, -0.1, 0.0),
        (PION, 91, 0, (0, -1), 10.0, 0.0, 7.0),
    )

    labels = label_jets(second, jets_at(0.0))

    assert (labels.code[0], labels.extended[0]) == (5, 55)


def test_only_the_hadron_that_decays_weakly_counts():
    is_b = carries_quark(EVENT.abs_id, 5)

    assert last_of_chain(EVENT, is_b).tolist() == [2]


def test_origins_follow_the_decay_chain():
    origin = trace(EVENT, np.array([4, 8, 6])).origin

    assert origin.tolist() == [Origin.FROM_BC, Origin.FROM_C, Origin.PRIMARY]


@pytest.mark.parametrize(
    ("pdg_id", "quark", "expected"),
    [(521, 5, True), (5122, 5, True), (421, 5, False), (4122, 4, True), (5, 5, False), (10441, 4, True)],
)
def test_hadron_flavour_is_read_from_the_digits(pdg_id, quark, expected):
    assert carries_quark(np.array([pdg_id]), quark).tolist() == [expected]
