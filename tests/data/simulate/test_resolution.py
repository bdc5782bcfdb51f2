"""The tracker's resolutions against full simulation's."""

from __future__ import annotations

import numpy as np
import pytest

from raytag.data.simulate.resolution import VERTEX_SIGMA, resolution, tailed_normal

# p in GeV: d0 in mm, phi and theta in rad, relative q/p.
FULL_SIMULATION = {
    5.0: (0.030, 0.74e-3, 0.85e-3, 0.017),
    15.0: (0.019, 0.43e-3, 0.40e-3, 0.022),
    45.0: (0.014, 0.28e-3, 0.20e-3, 0.028),
}


@pytest.mark.parametrize("momentum", FULL_SIMULATION)
def test_central_uncertainties_are_those_of_full_simulation_to_ten_percent(momentum):
    quoted = resolution(np.array([momentum]), np.zeros(1))

    values = [quoted.d0[0], quoted.phi[0], quoted.theta[0], quoted.relative_qop[0]]
    assert values == pytest.approx(FULL_SIMULATION[momentum], rel=0.10)


def test_impact_parameters_of_soft_and_forward_tracks_are_measured_worse():
    quoted = resolution(np.array([1.0, 10.0, 10.0]), np.array([0.0, 0.0, 2.0]))

    assert quoted.d0[0] > quoted.d0[2] > quoted.d0[1]
    assert quoted.z0_sin_theta[0] > quoted.z0_sin_theta[2] > quoted.z0_sin_theta[1]


def test_quoted_uncertainties_are_larger_than_the_vertex_they_contain():
    quoted = resolution(np.array([1000.0]), np.zeros(1))

    assert quoted.d0[0] > VERTEX_SIGMA[0]
    assert quoted.z0_sin_theta[0] > VERTEX_SIGMA[2]


def test_errors_have_a_unit_core_and_wide_tails():
    errors = np.abs(tailed_normal(np.random.default_rng(1), np.zeros(200_000, dtype=bool)))

    assert np.quantile(errors, 0.5) / 0.6745 == pytest.approx(1.0, abs=0.08)
    assert np.mean(errors > 4) > 0.005


def test_simulated_primary_tracks_have_pulls_of_unit_width(jets):
    import h5py

    from raytag.data.schema import Origin

    with h5py.File(jets / "pp_output_train.h5") as file:
        tracks = file["tracks"][:]
    primary = tracks[tracks["valid"] & (tracks["ftagTruthOriginLabel"] == Origin.PRIMARY)]

    width = np.quantile(np.abs(primary["IP3D_signed_d0_significance"]), 0.5) / 0.6745

    assert width == pytest.approx(1.0, abs=0.15)
