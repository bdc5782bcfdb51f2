import io
import json
from dataclasses import replace

import pytest
from rich.console import Console
from scaling_grid import JETS, make_cells

from raytag.report.scaling_fit import ScalingLaw
from raytag.report.scaling_law import analyse_scaling
from raytag.report.scaling_tables import (
    ANCHORS,
    describe_scaling,
    scaling_dict,
    scaling_markdown,
    short_count,
    tabulate_scaling,
)


@pytest.fixture(scope="module")
def analysis():
    cells = make_cells(noise=0.005, jets=(*JETS, 2 * JETS[-1]))
    return analyse_scaling(cells[:-1], ["grid-num_steps100, width 128: running"], num_draws=40)


def printed(analysis):
    console = Console(file=io.StringIO(), width=150)
    console.print(tabulate_scaling(analysis))
    return [line.split() for line in console.file.getvalue().splitlines()]


def test_losses_stand_by_size_and_data_with_repetition_marked(analysis):
    lines = printed(analysis)

    assert lines[1][:4] == ["width", "layers", "parameters", "7.2k"]
    (first,) = (line for line in lines if line[:2] == ["32", "2"])
    assert float(first[3].partition("(")[0]) == pytest.approx(analysis.cells[0].loss, rel=1e-3)
    assert [word.endswith("*") for word in first[3:]] == [False, False, False, False, True]


@pytest.mark.parametrize(
    ("losses", "text"),
    [((0.93, 0.95), "0.940(10)"), ((0.8855, 0.886), "0.88575(25)"), ((0.7, 1.1), "0.90(20)"), ((0.9,), "0.9000")],
)
def test_the_error_of_a_loss_stands_on_its_last_digits(analysis, losses, text):
    cells = [replace(cell, losses=losses) if index == 0 else cell for index, cell in enumerate(analysis.cells)]

    (first,) = (line for line in printed(replace(analysis, cells=tuple(cells))) if line[:2] == ["32", "2"])
    assert first[3] == text


def test_the_tables_of_four_lengths_fit_into_80_columns():
    console = Console(file=io.StringIO(), width=80)
    console.print(tabulate_scaling(analyse_scaling(make_cells(noise=0.005), num_draws=10)))

    assert "…" not in console.file.getvalue()


def test_a_cell_that_is_missing_is_empty_and_named(analysis):
    (last,) = (line for line in printed(analysis) if line[:2] == ["128", "8"])

    assert len(last) == 3 + 4
    assert "Missing: grid-num_steps100, width 128: running." in describe_scaling(analysis)


def test_trainings_of_a_model_on_as_many_jets_stand_side_by_side(analysis):
    other = replace(analysis.cells[0], losses=(0.9,))

    (first,) = (line for line in printed(replace(analysis, cells=(*analysis.cells, other))) if line[:2] == ["32", "2"])
    assert first[4:6] == ["/", "0.9000"]


def test_the_law_stands_with_its_intervals_and_the_best_use_of_compute(analysis):
    lines = printed(analysis)

    interval = analysis.intervals["data_exponent"]
    assert ["β,", "of", "data", f"{interval.value:.3g}", f"{interval.low:.3g}", "to", f"{interval.high:.3g}"] in lines
    assert {"lowest loss at each cost, as measured", "lowest loss at each cost, by the law"} <= set(
        map(" ".join, lines)
    )


def test_sentences_tell_the_fit_the_repetition_and_the_anchors(analysis):
    text = " ".join(describe_scaling(analysis))

    assert "describes 24 points to 0." in text
    assert "jets seen repeatedly, up to 2.0 times" in text
    assert "Ten times the compute is best spent on a model" in text
    assert "not determined" not in text.lower()
    assert text.endswith(ANCHORS)
    assert "arXiv:2602.15781" in ANCHORS
    assert "arXiv:2610.06784" in ANCHORS


def test_what_is_not_determined_is_said_and_no_optimum_is_told():
    noisy = analyse_scaling(make_cells(noise=0.1, seeds=2), num_draws=40)
    text = " ".join(describe_scaling(noisy))

    assert "Not determined: α, of size; β, of data." in text
    assert "How compute is best divided between size and data is not determined" in text
    assert ["best", "use", "of", "compute"] not in printed(noisy)


def test_too_much_repetition_and_unknown_repetition_are_told():
    cells = make_cells(jets=(*JETS, 10 * JETS[-1]))
    unknown = [replace(cell, epochs=None) for cell in make_cells()]

    assert "5 points saw their jets more than 4 times" in " ".join(
        describe_scaling(analyse_scaling(cells, num_draws=2))
    )
    assert "How often a jet was seen is not known" in " ".join(describe_scaling(analyse_scaling(unknown, num_draws=2)))


def test_the_values_are_plain_and_complete(analysis):
    values = json.loads(json.dumps(scaling_dict(analysis), allow_nan=False))

    assert values["parameters"]["size_exponent"]["is_determined"] is True
    assert len(values["cells"]) == len(analysis.cells)
    assert values["cells"][0]["fitted_loss"] == pytest.approx(values["cells"][0]["loss"], rel=0.02)
    assert values["missing"] == list(analysis.missing)


def test_values_of_single_seeds_and_flat_laws_can_be_written_too():
    flat = analyse_scaling(make_cells(ScalingLaw(0.6, 0.0, 0.5, 15.0, 0.35), seeds=1), num_draws=3)

    assert json.loads(json.dumps(scaling_dict(flat), allow_nan=False))["cells"][0]["stderr"] is None


def test_the_page_holds_picture_tables_and_sentences(analysis):
    page = scaling_markdown(analysis, "a grid", "scaling.png")

    assert page.startswith("# a grid\n\n![Loss against compute")
    assert "| width | layers | parameters | 7.2k jets |" in page
    assert all(sentence in page for sentence in describe_scaling(analysis))


@pytest.mark.parametrize(
    ("number", "text"),
    [(12.3, "12.3"), (999, "999"), (57_600, "57.6k"), (999_900, "1M"), (1_240_000, "1.24M"), (2e9, "2G")],
)
def test_large_numbers_are_short(number, text):
    assert short_count(number) == text
