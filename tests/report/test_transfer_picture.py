import math

import numpy as np
import pytest
from lr_curves import WIDTHS, curve_of, make_curve, make_curves, records_of
from pictures import figure_of

from raytag.report.transfer_analysis import analyse_transfer
from raytag.report.transfer_picture import draw_transfer


@pytest.fixture
def draw(tmp_path):
    """Draw the picture and return its panels, a row above a row."""

    def draw_(*studies):
        figure = figure_of(draw_transfer, studies, tmp_path / "new" / "transfer.png")
        return np.array(figure.axes).reshape(2, -1)

    return draw_


def analyse(curves, label="muP", parametrisation="mup"):
    return analyse_transfer(label, parametrisation, WIDTHS, records_of(curves))


def diamonds(panel):
    return [tuple(map(float, line.get_xydata()[0])) for line in panel.lines if line.get_marker() == "D"]


def test_each_study_is_a_column_whose_title_is_its_finding(draw):
    panels = draw(analyse(make_curves(0.05)), analyse(make_curves(-1.0), "standard", "standard"))

    assert [panel.get_title(loc="left").strip() for panel in panels[0]] == [
        "muP: optimum moves +0.05 ± 0.00 octaves per doubling",
        "standard: optimum moves −1.00 ± 0.00 octaves per doubling",
    ]
    assert len({panel.get_xlim() for panel in panels.flat}) == 1
    assert panels[0, 0].get_ylim() == panels[0, 1].get_ylim()


def test_the_optima_are_above_each_other_in_both_rows(draw):
    (above,), (below,) = draw(analyse(make_curves(-0.5)))

    assert [x for x, _ in diamonds(above)] == pytest.approx([-6.0, -6.5, -7.0, -7.5])
    np.testing.assert_allclose(diamonds(below), [(-6.0, 5.0), (-6.5, 6.0), (-7.0, 7.0), (-7.5, 8.0)])
    assert [label.get_text() for label in below.get_yticklabels()] == ["32", "64", "128", "256"]


def test_the_diamonds_are_at_the_losses_of_the_table(draw):
    study = analyse(make_curves(-0.27))
    (above,), _ = draw(study)

    assert [loss for _, loss in diamonds(above)] == [result.loss for result in study.widths]


def test_no_line_is_drawn_through_optima_that_are_not_known(draw):
    curves = make_curves(-0.5)
    known, cut = analyse(curves), analyse([*curves[:3], curve_of([[0.7, 0.75, 0.8, 0.9, 1.0]] * 3, width=256)])
    _, below = draw(known, cut)

    assert [sum(len(line.get_xdata()) == len(WIDTHS) for line in panel.lines) for panel in below] == [1, 0]


def test_what_diverged_is_a_cross_at_the_edge_and_squeezes_nothing(draw):
    curves = make_curves(0.0)
    curves[3].objectives[:, -1] = math.inf
    curves[2].objectives[:, -1] = 1e6
    (above,), _ = draw(analyse(curves))

    top = above.get_ylim()[1]
    (crosses,) = (line for line in above.lines if line.get_marker() == "x")
    assert crosses.get_xydata().tolist() == [[-4.0, top]]
    assert top < 1.2


def test_intervals_do_not_squeeze_the_rates(draw):
    (above,), _ = draw(analyse(make_curves(0.0, seeds=2, noise=0.1)))

    tried = [x for line in above.lines if line.get_marker() == "o" for x in line.get_xdata()]
    assert above.get_xlim() == pytest.approx((min(tried) - 0.4, max(tried) + 0.4))


def test_an_arrow_shows_a_gap_that_is_not_allowed(draw):
    shown = draw(analyse(make_curves(0.1)), analyse(make_curves(-1.0), "standard", "standard"))[0]

    assert [text.get_text() for panel in shown for text in panel.texts if text.get_text().endswith(" %")] == ["+21 %"]


@pytest.mark.parametrize(
    "curves", [[make_curve(32, -6)], make_curves(0.0, seeds=1), make_curves(0.0, widths=(32, 256), seeds=2)]
)
def test_few_widths_and_few_seeds_can_be_drawn(draw, curves):
    draw(analyse(curves))
