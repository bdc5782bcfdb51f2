"""Helices in the solenoid's field: perigee parameters and impact-parameter signs, in ATLAS conventions.

The field of 2 T points along +z, so positive charges turn clockwise seen from +z. With azimuth phi at the perigee, the
point of closest approach to the reference is ``(-d0 sin phi, d0 cos phi)``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["delta_phi", "lifetime_signed", "perigee", "shift_reference"]

FIELD_TESLA = 2.0
# p [GeV] = 0.299792458 B [T] R [m]
RADIUS_MM_PER_GEV = 1000.0 / (0.299792458 * FIELD_TESLA)

Floats = NDArray[np.float64]


def delta_phi(first: NDArray[Any], second: NDArray[Any]) -> Floats:
    """Return ``first - second`` in [-pi, pi)."""
    difference: Floats = (first - second + np.pi) % (2 * np.pi) - np.pi
    return difference


def perigee(
    momentum: tuple[Floats, Floats, Floats],
    charge: NDArray[Any],
    vertex: tuple[Floats, Floats, Floats],
    reference: tuple[Floats, Floats, Floats],
) -> tuple[Floats, Floats, Floats]:
    """Return d0 [mm], z0 [mm] and phi of particles at their closest approach to a reference point in the x-y plane.

    Parameters
    ----------
    momentum
        px, py, pz at the vertex, in GeV.
    charge
        +1 or -1.
    vertex, reference
        Where the particle was made and the point the perigee refers to, in mm.
    """
    (px, py, pz), (x, y, z) = momentum, vertex
    pt = np.hypot(px, py)
    radius = pt * RADIUS_MM_PER_GEV
    phi_vertex = np.arctan2(py, px)
    centre_x = x + charge * radius * np.sin(phi_vertex) - reference[0]
    centre_y = y - charge * radius * np.cos(phi_vertex) - reference[1]
    d0 = charge * (radius - np.hypot(centre_x, centre_y))
    phi = np.arctan2(charge * centre_x, -charge * centre_y)
    path_to_vertex = -charge * radius * delta_phi(phi_vertex, phi)
    z0 = z - path_to_vertex * pz / pt - reference[2]
    return d0, z0, phi


def shift_reference(
    perigees: tuple[Floats, Floats, Floats], eta: Floats, reference: tuple[Floats, Floats, Floats]
) -> tuple[Floats, Floats]:
    """Return d0 and z0 after the reference point has moved by ``reference`` mm (small against the curvature)."""
    d0, z0, phi = perigees
    x, y, z = reference
    sin, cos = np.sin(phi), np.cos(phi)
    return d0 + x * sin - y * cos, z0 - z + (x * cos + y * sin) * np.sinh(eta)


def lifetime_signed(value: Floats, track_minus_jet: Floats, *, is_longitudinal: bool = False) -> Floats:
    """Return ``|value|`` with the lifetime sign: positive if the track crosses the jet axis downstream.

    Parameters
    ----------
    value
        d0, or z0 sin(theta), or their significances.
    track_minus_jet
        Difference of azimuths for d0, of pseudorapidities for z0.
    is_longitudinal
        Whether ``value`` is a z0.
    """
    lever = track_minus_jet if is_longitudinal else np.sin(track_minus_jet)
    return np.abs(value) * np.where(-lever * value >= 0, 1.0, -1.0)
