import math

import numpy as np
import pytest
from gate_figures import gate_figures
from pictures import figure_of

from raytag.report.gate_picture import draw_coordinates, module_group


@pytest.fixture
def drawn(tmp_path):
    """Draw a report and return the figure."""
    path = tmp_path / "new" / "coordinates.png"
    return lambda **changes: figure_of(draw_coordinates, gate_figures(**changes), path)


def texts(panel):
    return [text.get_text() for text in panel.texts]


def test_a_line_has_the_slope_of_its_sizes_and_begins_at_one(drawn):
    _, change = drawn(faults={"embed (change)": 0.8}).axes

    line = next(line for line in change.lines if line.get_marker() == "o")

    np.testing.assert_allclose(line.get_ydata(), [0, 0.8, 1.6], atol=1e-12)
    np.testing.assert_allclose(line.get_xdata(), [5, 6, 7])


def test_a_module_that_fails_is_named_with_its_slope_in_its_own_panel(drawn):
    figure = drawn(faults={"embed (initial)": -0.5, "readout (change)": 0.9})

    assert [texts(panel) for panel in figure.axes] == [["embed  −0.50"], ["readout  +0.90"]]
    assert figure.get_suptitle().startswith("muP: 2 of 3 modules do not keep their size")


def test_without_a_failure_nothing_is_named(drawn):
    figure = drawn()

    assert [texts(panel) for panel in figure.axes] == [[], []]
    assert figure.get_suptitle() == "muP: all 3 modules start and move alike at every width (adamw, 5 steps)"


def test_the_standard_parametrisation_is_called_by_its_name(drawn):
    figure = drawn(faults={"readout (change)": 0.9}, parametrisation="standard")

    assert figure.get_suptitle().startswith("Standard parametrisation: 1 of 3 modules")


def test_a_training_that_broke_is_drawn_as_far_as_it_went(tmp_path):
    report = gate_figures(faults={"embed (change)": math.inf})
    report["coordinates"]["log2_sizes"]["embed"]["change"] = [-2.0, math.nan, math.nan]
    report["coordinates"]["log2_sizes"]["readout"]["change"] = [math.nan] * 3

    draw_coordinates(report, tmp_path / "coordinates.png")

    assert (tmp_path / "coordinates.png").exists()


def test_what_starts_at_zero_is_dashed(drawn):
    _, change = drawn().axes

    assert sorted(line.get_linestyle() for line in change.lines if len(line.get_xdata()) == 3) == ["-", "-", "--"]


@pytest.mark.parametrize(
    ("module", "group"),
    [
        ("init_net.first", "init_net"),
        ("encoder.layers.0", "encoder"),
        ("encoder.layers.11.attention.qkv", "encoder: attention"),
        ("encoder.layers.3.feed_up", "encoder: feed"),
        ("vertexing", "vertexing"),
    ],
)
def test_layers_share_the_colour_of_their_kind(module, group):
    assert module_group(module) == group
