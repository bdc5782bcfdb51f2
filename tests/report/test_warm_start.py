import json
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from raytag.report.comparison import Measured, Measurement
from raytag.report.differences import PairedDifference
from raytag.report.warm_start import (
    CONTINUED,
    NARROW,
    SCRATCH,
    WARM,
    WarmComparison,
    describe_warm_start,
    tabulate_warm_start,
)

METRICS = {"objective": 0.51234, "objective_stderr": 0.0067, "auc_b_vs_light": 0.9876, "light_rejection_70": 512.3}


def compared(continuation=-0.03, width=-0.01, scratch=None, stderr=0.002, split="test"):
    means = {
        (NARROW, CONTINUED): continuation,
        (CONTINUED, WARM): width,
        (NARROW, WARM): continuation + width,
        **({} if scratch is None else {(SCRATCH, WARM): scratch}),
    }
    models = dict.fromkeys((NARROW, CONTINUED, *([] if scratch is None else [SCRATCH]), WARM), METRICS)
    return WarmComparison(split, 6000, models, {pair: PairedDifference(mean, stderr) for pair, mean in means.items()})


def told(comparison):
    return " ".join(describe_warm_start(comparison))


def test_the_gain_is_divided_into_continuation_and_width():
    assert "Of the gain of 0.0400 over the narrow model, 75% is continuation" in told(compared())
    assert "and 25% is width." in told(compared())


@pytest.mark.parametrize(
    ("means", "sentence"),
    [
        ({"width": 0.001}, "Of the gain of 0.0290 over the narrow model, none beyond the noise is the width's"),
        ({"width": -0.003}, "none beyond the noise is the width's"),
        ({"continuation": 0.01, "width": -0.05}, "Of the gain of 0.0400 over the narrow model, all is the width's"),
        ({"continuation": -0.001, "width": -0.001}, "gains nothing over the narrow one beyond the noise."),
        ({"continuation": 0.05}, "gains nothing over the narrow one beyond the noise."),
    ],
)
def test_no_gain_is_claimed_that_the_jets_do_not_show(means, sentence):
    assert sentence in told(compared(**means))


@pytest.mark.parametrize("names", [(NARROW, CONTINUED, SCRATCH, WARM), (NARROW, CONTINUED, WARM)])
def test_the_model_from_scratch_is_compared_if_it_was_measured(names):
    losses = {name: np.array([float(place), place + 2.0]) for place, name in enumerate(names)}
    measured = Measured("test", {name: Measurement(METRICS, losses[name], np.ones(2)) for name in names})

    comparison = WarmComparison.of(measured)

    assert [*comparison.models] == [*names]
    means = {pair: difference.mean for pair, difference in comparison.differences.items()}
    assert means == {
        (NARROW, CONTINUED): 1,
        (CONTINUED, WARM): len(names) - 2,
        (NARROW, WARM): len(names) - 1,
        **({(SCRATCH, WARM): 1} if SCRATCH in names else {}),
    }


def test_every_difference_has_its_error():
    lines = describe_warm_start(compared(scratch=0.02))

    assert lines[1] == "  narrow, continued - narrow               -0.0300 ± 0.0020"
    assert lines[2] == "  wide, warm-started - narrow, continued   -0.0100 ± 0.0020"
    assert lines[4] == "  wide, warm-started - wide, from scratch  +0.0200 ± 0.0020"


def test_the_model_from_scratch_is_said_to_have_seen_fewer_jets():
    assert "From scratch, the wide model saw fewer jets" in told(compared(scratch=0.02))
    assert "fewer jets" not in told(compared())


def test_validation_jets_flatter_the_narrow_model():
    assert "was chosen on these jets, which flatters it" in told(compared(split="val"))
    assert "flatters" not in told(compared())


def test_all_models_stand_in_one_table_of_80_columns():
    out = StringIO()
    comparison = compared(scratch=0.02)

    Console(file=out, width=80).print(tabulate_warm_start(comparison))
    screen = [line.rstrip() for line in out.getvalue().splitlines()] + describe_warm_start(comparison)

    assert [line[:20].strip() for line in screen[1:5]] == [NARROW, CONTINUED, SCRATCH, WARM]
    assert "0.5123 ± 0.0067" in screen[1]
    assert max(map(len, screen)) <= 80


def test_a_comparison_reads_back_as_it_was_written():
    comparison = compared(scratch=0.02)

    assert WarmComparison.from_dict(json.loads(json.dumps(comparison.to_dict()))) == comparison
