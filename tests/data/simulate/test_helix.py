"""Signs and values of perigee parameters, against a particle followed step by step through the field."""

from __future__ import annotations

import numpy as np
import pytest

from raytag.data.simulate.helix import FIELD_TESLA, lifetime_signed, perigee, shift_reference

ORIGIN = (np.zeros(1), np.zeros(1), np.zeros(1))


def point(*coordinates):
    return tuple(np.array([float(value)]) for value in coordinates)


def follow_to_closest_approach(momentum, charge, vertex):
    """Follow dp/ds = 0.3 q p x B / |p| both ways in steps of 10 µm; return d0, z0 and phi at the least radius."""
    best = None
    for direction in (1, -1):
        position, p = np.array(vertex, dtype=float), np.array(momentum, dtype=float)
        step = 1e-2 * direction
        for _ in range(2_000):
            radius = np.hypot(*position[:2])
            if best is None or radius < best[0]:
                best = (radius, position.copy(), p.copy())
            size = np.linalg.norm(p)
            turn = 0.299792458e-3 * charge * np.cross(p, [0, 0, FIELD_TESLA]) / size
            middle = p + turn * step / 2
            position = position + middle / size * step
            p = p + 0.299792458e-3 * charge * np.cross(middle, [0, 0, FIELD_TESLA]) / size * step
    _, position, p = best
    phi = np.arctan2(p[1], p[0])
    return -position[0] * np.sin(phi) + position[1] * np.cos(phi), position[2], phi


@pytest.mark.parametrize("charge", [1, -1])
@pytest.mark.parametrize("momentum", [(0.6, 0.5, 0.3), (-0.4, 0.7, -0.9)])
def test_perigee_equals_a_particle_followed_through_the_field(momentum, charge):
    vertex = (7.0, -9.0, 4.0)
    d0, z0, phi = perigee(point(*momentum), np.array([charge]), point(*vertex), ORIGIN)

    expected = follow_to_closest_approach(momentum, charge, vertex)

    assert [d0[0], z0[0], phi[0]] == pytest.approx(expected, abs=1e-2)


@pytest.mark.parametrize("charge", [1, -1])
def test_d0_is_positive_for_a_track_along_x_that_passes_above_the_reference(charge):
    d0, _, _ = perigee(point(1e4, 0, 0), np.array([charge]), point(5, 1, 0), ORIGIN)

    assert d0[0] == pytest.approx(1.0, abs=1e-3)


def test_positive_charges_turn_clockwise():
    _, _, phi_at_perigee = perigee(point(1, 0, 0), np.array([1]), point(30, 0, 0), ORIGIN)

    assert phi_at_perigee[0] > 0  # at the vertex, further on, phi is 0


def test_moving_the_reference_equals_a_perigee_at_the_moved_reference():
    momentum, charge, vertex = point(1.5, -2.0, 3.0), np.array([-1]), point(0.5, 0.2, -1.0)
    moved = point(0.02, -0.03, 0.4)
    d0, z0, phi = perigee(momentum, charge, vertex, ORIGIN)
    eta = np.arcsinh(momentum[2] / np.hypot(momentum[0], momentum[1]))

    shifted = shift_reference((d0, z0, phi), eta, moved)

    expected = perigee(momentum, charge, vertex, moved)
    assert shifted[0] == pytest.approx(expected[0], abs=2e-5)
    assert shifted[1] == pytest.approx(expected[1], abs=2e-4)


@pytest.mark.parametrize("side", [0.2, -0.2])
@pytest.mark.parametrize(("flight", "sign"), [(3.0, 1), (-3.0, -1)])
def test_d0_is_signed_by_the_side_of_the_vertex_on_which_the_hadron_decays(side, flight, sign):
    jet_phi = 2.9
    track_phi = jet_phi + side
    vertex = point(flight * np.cos(jet_phi), flight * np.sin(jet_phi), 0)
    d0, _, phi = perigee(point(20 * np.cos(track_phi), 20 * np.sin(track_phi), 1), np.array([1]), vertex, ORIGIN)

    signed = lifetime_signed(d0, phi - jet_phi)

    assert np.sign(signed[0]) == sign
    assert abs(signed[0]) == pytest.approx(3 * np.sin(0.2), rel=0.02)


@pytest.mark.parametrize("side", [0.2, -0.2])
@pytest.mark.parametrize(("flight", "sign"), [(3.0, 1), (-3.0, -1)])
def test_z0_is_signed_by_the_side_of_the_vertex_on_which_the_hadron_decays(side, flight, sign):
    jet_eta = 0.7
    track_eta = jet_eta + side
    vertex = point(flight, 0, flight * np.sinh(jet_eta))
    _, z0, _ = perigee(point(20, 0, 20 * np.sinh(track_eta)), np.array([1]), vertex, ORIGIN)

    signed = lifetime_signed(z0, np.array([track_eta - jet_eta]), is_longitudinal=True)

    assert np.sign(signed[0]) == sign
