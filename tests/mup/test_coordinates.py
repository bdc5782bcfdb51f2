import math

import pytest
import torch

from raytag.mup.coordinates import CoordinateSlopes, width_slope

WIDTHS = (32, 64, 128, 256)


def power_law(exponent, seeds=(1, 1, 1, 1), moments=3):
    return [
        torch.full((num_seeds, moments), float(width) ** exponent)
        for width, num_seeds in zip(WIDTHS, seeds, strict=True)
    ]


@pytest.mark.parametrize("exponent", [-0.5, 0.0, 1.0])
def test_the_slope_is_the_exponent_of_a_power_law(exponent):
    assert width_slope(WIDTHS, power_law(exponent, seeds=(8, 8, 4, 4))) == pytest.approx(exponent, abs=1e-6)


def test_seeds_are_averaged_by_their_squares():
    """Activations that are Gaussian with one variance at all widths have no slope, however few their units."""
    generator = torch.Generator().manual_seed(0)
    sizes = [
        torch.randn(20_000, 1, width // 32, generator=generator).square().mean(-1).sqrt() for width in WIDTHS
    ]  # 1 to 8 units: the mean of the logarithms would rise by a factor 2

    assert width_slope(WIDTHS, sizes) == pytest.approx(0.0, abs=0.02)


def test_the_narrowest_width_decides_least():
    def slope_with_twice(index):
        sizes = power_law(0.0)
        sizes[index] = sizes[index] * 2
        return abs(width_slope(WIDTHS, sizes))

    assert slope_with_twice(0) < slope_with_twice(3) / 2


def test_moments_at_which_nothing_moves_are_left_out():
    sizes = power_law(1.0)
    for size in sizes:
        size[:, 0] = 0.0

    assert width_slope(WIDTHS, sizes) == pytest.approx(1.0)
    assert width_slope(WIDTHS, [size[:, :1] for size in sizes]) is None


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_training_that_broke_is_infinitely_steep(broken):
    sizes = power_law(0.0)
    sizes[-1][0, -1] = broken

    assert width_slope(WIDTHS, sizes) == math.inf


def test_growth_is_a_fault_and_so_is_any_initial_slope_but_not_a_fading_change():
    slopes = CoordinateSlopes(
        initial={"embed": -0.5, "feed": 0.05}, change={"logits": -0.5, "readout": 1.0, "feed": 0.1}
    )

    assert slopes.faults(0.3) == [("readout (change)", 1.0), ("embed (initial)", -0.5)]
    assert slopes.steepest == 1.0
    assert CoordinateSlopes(initial={}, change={"logits": -0.5}).steepest == 0.0
