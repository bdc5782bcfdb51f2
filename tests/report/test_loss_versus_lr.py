import numpy as np
import pytest
from pictures import figure_of

from raytag.records import TrialState
from raytag.report.loss_versus_lr import draw_loss_versus_lr


@pytest.fixture
def draw(tmp_path):
    """Draw the picture and return its panels."""

    def draw_(records):
        figure = figure_of(draw_loss_versus_lr, records, tmp_path / "picture.png", "title")
        return [panel for panel in figure.axes if panel.get_visible()]

    return draw_


def points(panel):
    """All points of a panel by marker colours: (filled, x, y)."""
    found = []
    for collection in panel.collections:
        filled = collection.get_facecolors().size > 0
        found += [(filled, *map(float, point)) for point in np.asarray(collection.get_offsets())]
    return found


def test_each_width_has_a_panel_with_the_same_axes(draw, make_record):
    panels = draw([make_record(width, 0, 1 / width) for width in (32, 64, 128)])

    assert [panel.get_title(loc="left") for panel in panels] == ["width 32", "width 64", "width 128"]
    assert len({panel.get_xlim() for panel in panels}) == len({panel.get_ylim() for panel in panels}) == 1


def test_the_axis_is_the_logarithm_of_the_rate_and_pruned_trials_are_hollow(draw, make_record):
    complete = [make_record(32, 0, 0.5, lr=2**-6), make_record(32, 1, 0.6, lr=2**-7)]
    (panel,) = draw([*complete, make_record(32, 2, 0.55, lr=2**-9, state=TrialState.PRUNED)])

    assert {(True, -6, 0.5), (True, -7, 0.6), (False, -9, 0.55)} <= set(points(panel))


def test_a_diverged_trial_does_not_squeeze_the_others(draw, make_record):
    (panel,) = draw([make_record(32, number, 0.5 + 0.01 * number) for number in range(8)] + [make_record(32, 9, 1e6)])

    assert panel.get_ylim()[1] < 1


@pytest.mark.parametrize("state", [TrialState.FAILED, TrialState.RUNNING])
def test_a_study_without_a_completed_trial_can_be_drawn(draw, make_record, state):
    draw([make_record(32, 0, None, state=state)])


def test_every_member_is_drawn_in_the_column_of_its_trial(draw, make_matrix):
    (panel,) = draw([make_matrix(32, 0, [0.49, 0.52], lr=2**-6), make_matrix(32, 1, [0.50, 0.53], lr=2**-7)])

    members = {(round(x), round(y, 9)) for _, x, y in points(panel)}
    assert {(-6, 0.49), (-6, 0.52), (-7, 0.5), (-7, 0.53)} <= members
