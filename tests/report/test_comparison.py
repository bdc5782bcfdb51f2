from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from raytag.report.comparison import (
    Comparison,
    Measured,
    Measurement,
    describe_difference,
    tabulate_comparison,
)

METRICS = {
    "objective": 0.51234,
    "objective_stderr": 0.0067,
    "loss": 1.23456,
    "auc_b_vs_light": 0.9876,
    "light_rejection_70": 512.3,
    "light_rejection_70_stderr": 41.2,
}


def compared(difference=0.0, stderr=0.01):
    return Comparison("test", 6000, METRICS, {**METRICS, "objective": 0.49876}, difference, stderr)


def test_of_the_models_measured_two_are_compared_jet_by_jet():
    weights = np.array([1.0, 3.0])
    losses = {"a": np.array([1.0, 1.0]), "b": np.array([9.0, 9.0]), "c": np.array([0.0, 1.0])}
    measured = Measured("test", {name: Measurement({"objective": 0.5}, loss, weights) for name, loss in losses.items()})

    comparison = Comparison.of(measured, "a", "c")

    assert (comparison.split, comparison.num_jets, comparison.narrow) == ("test", 2, {"objective": 0.5})
    assert comparison.difference == pytest.approx(-1 / 4)
    assert comparison.difference_stderr == pytest.approx(np.sqrt((3 / 4) ** 2 + (3 * 1 / 4) ** 2) / 4)


def test_jets_that_chose_the_narrow_model_give_no_verdict():
    _, verdict = describe_difference(replace(compared(difference=-0.5), split="val"))

    assert verdict.startswith("no verdict: the narrow model was chosen on these jets")


@pytest.fixture
def screen():
    out = StringIO()
    table = tabulate_comparison(compared(), ("w128-0007, width 128", "width 1024"))
    Console(file=out, width=80).print(table)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_both_models_stand_side_by_side_with_their_errors(screen):
    assert [line.split("  ")[0] for line in screen[1:]] == [
        "jet classification loss",
        "total loss",
        "AUC, b against light",
        "light rejection at 70 % b-efficiency",
    ]
    assert screen[1].split("loss")[1].split() == ["0.5123", "±", "0.0067", "0.4988", "±", "0.0067"]
    assert screen[4].endswith("512 ± 41         512 ± 41")


def test_the_table_fits_80_columns(screen):
    assert max(map(len, screen)) <= 80
    assert len(screen) == 5


@pytest.mark.parametrize(
    ("difference", "stderr", "lines"),
    [
        (
            -0.01358,
            0.0021,
            (
                "loss difference on the same jets, wide - narrow: -0.0136 ± 0.0021",
                "the wide model is better by 6.5 standard errors",
            ),
        ),
        (
            0.03,
            0.01,
            (
                "loss difference on the same jets, wide - narrow: +0.030 ± 0.010",
                "the narrow model is better by 3.0 standard errors",
            ),
        ),
        (
            -0.003,
            0.0021,
            (
                "loss difference on the same jets, wide - narrow: -0.0030 ± 0.0021",
                "tied within the noise (1.4 standard errors)",
            ),
        ),
    ],
)
def test_a_difference_is_judged_by_its_own_error(difference, stderr, lines):
    assert describe_difference(compared(difference, stderr)) == lines


def test_equal_models_are_tied():
    comparison = compared(difference=0.0, stderr=0.0)

    assert comparison.paired.is_tied
    assert describe_difference(comparison)[1] == "tied within the noise (0.0 standard errors)"
