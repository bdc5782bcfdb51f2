"""Moments of numbers in pieces."""

from __future__ import annotations

import numpy as np
import pytest

from raytag.data.moments import Moments


def test_moments_of_pieces_equal_those_of_the_whole():
    values = np.random.default_rng(1).normal(1e4, 0.5, 1000)
    moments = Moments()

    for piece in np.split(values, [0, 3, 400]):
        moments.update(piece)

    assert moments.mean == pytest.approx(values.mean(), rel=1e-14)
    assert moments.std == pytest.approx(values.std(), rel=1e-9)
