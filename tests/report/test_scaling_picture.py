import numpy as np
import pytest
from pictures import figure_of
from scaling_grid import JETS, SHAPES, make_cells

from raytag.report.scaling_fit import ScalingLaw
from raytag.report.scaling_law import analyse_scaling
from raytag.report.scaling_picture import draw_scaling


@pytest.fixture
def draw(tmp_path):
    """Draw the picture and return its two panels and the labels of the legend below them."""

    def draw_(cells):
        figure = figure_of(draw_scaling, analyse_scaling(cells, num_draws=20), tmp_path / "picture.png", "title")
        labels = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
        return *figure.axes, labels

    return draw_


def points(panel, *, hollow=None):
    """Return the drawn points (x, y) of a panel's error bars: all of them, the hollow or the filled ones."""
    found = set()
    for container in panel.containers:
        line = container.lines[0]
        is_hollow = line.get_markerfacecolor() == "white"
        if hollow is None or hollow == is_hollow:
            found.add((float(line.get_xdata()[0]), float(line.get_ydata()[0])))
    return found


def test_every_loss_stands_over_its_cost_and_over_its_size(draw):
    cells = make_cells(noise=0.005)
    left, right, _ = draw(cells)

    assert points(left) == {(cell.train_flops, cell.loss) for cell in cells}
    assert points(right) == {(float(cell.num_parameters), cell.loss) for cell in cells}


def test_repeated_jets_are_hollow_and_explained(draw):
    cells = make_cells(jets=(*JETS, 2 * JETS[-1]))
    left, _, labels = draw(cells)

    assert points(left, hollow=True) == {(cell.train_flops, cell.loss) for cell in cells if cell.num_jets > JETS[-1]}
    assert labels == ["lowest loss at each cost, measured", "lowest loss by the law", "jets repeated"]


def test_jets_repeated_too_often_are_crosses(draw):
    left, _, labels = draw(make_cells(jets=(*JETS, 10 * JETS[-1])))

    assert [container.lines[0].get_marker() for container in left.containers].count("X") == len(SHAPES)
    assert labels[-1] == "repeated too often to be fitted"


def test_no_curve_of_the_law_lies_below_the_frontier(draw):
    left, _, _ = draw(make_cells())
    (frontier,) = (line for line in left.lines if line.get_label() == "lowest loss by the law")
    curves = [line for line in left.lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 60]

    assert len(curves) == len(SHAPES)
    for curve in curves:
        lowest = np.interp(np.log(curve.get_xdata()), np.log(frontier.get_xdata()), frontier.get_ydata())
        is_inside = curve.get_xdata() >= frontier.get_xdata()[0]
        assert (curve.get_ydata() >= 0.999 * lowest)[is_inside].all()


def test_the_lowest_losses_that_were_measured_are_joined(draw):
    cells = make_cells(noise=0.005)
    left, _, _ = draw(cells)
    (line,) = (line for line in left.lines if line.get_label() == "lowest loss at each cost, measured")

    joined = list(zip(line.get_xdata(), line.get_ydata(), strict=True))
    assert joined == [(cell.train_flops, cell.loss) for cell in analyse_scaling(cells, num_draws=1).best_cells]


def test_exponents_are_in_the_title_or_said_to_be_open(draw):
    _, known, _ = draw(make_cells(noise=0.003))
    _, flat, labels = draw(make_cells(ScalingLaw(0.6, 0.0, 0.5, 15.0, 0.35), seeds=1))

    assert r"\alpha = 0.5" in known.get_title(loc="left")
    assert r"$\alpha$ not determined" in flat.get_title(loc="left")
    assert labels == ["lowest loss at each cost, measured"]
