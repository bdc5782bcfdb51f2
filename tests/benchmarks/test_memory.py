"""The memory plan against a fresh process that trains, validates and copies a group."""

import pytest

from benchmarks.memory import Case, run


@pytest.mark.parametrize("case", [Case("loop", 32, 128), Case("vmap", 128, 128)], ids=str)
def test_the_plan_predicts_the_peak_of_a_worker_within_a_quarter(case):
    predicted, measured = run("predict", case), run("train", case)

    assert predicted.group == pytest.approx(measured.group, rel=0.25)
    assert predicted.worker == pytest.approx(measured.worker, rel=0.25)
