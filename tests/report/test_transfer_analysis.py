"""The figures of a study, and what a search that is not finished lacks."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from lr_curves import WIDTHS, make_curve, make_curves, make_trial, records_of

from raytag.records import TrialState
from raytag.report.transfer_analysis import analyse_transfer


def analyse(records, widths=WIDTHS):
    return analyse_transfer("muP", "mup", widths, records)


def test_a_finished_study_lacks_nothing():
    analysis = analyse(records_of(make_curves(-0.5)))

    assert analysis.missing == ()
    assert [result.width for result in analysis.widths] == list(WIDTHS)
    assert analysis.drift.value == pytest.approx(-0.5)
    assert analysis.num_seeds == 3


def test_the_gap_of_every_wider_width_is_its_loss_at_the_narrow_optimum():
    narrowest, *wider = analyse(records_of(make_curves(-0.5))).widths

    assert narrowest.gap is narrowest.gain is None
    assert narrowest.loss_at_carried == narrowest.loss
    for doublings, result in enumerate(wider, 1):
        above = 0.02 * (0.5 * doublings) ** 2
        assert result.loss_at_carried - result.loss == pytest.approx(above, abs=0.002)
        assert result.gap.value == pytest.approx(above / result.loss, abs=0.002)


def test_the_cost_is_the_narrow_sweep_and_one_seed_of_one_wide_trial_over_the_wide_sweep():
    narrow, wide = make_curves(0, widths=(32, 256), flops=6.0)
    wide.objectives[:, 0] = math.inf  # a trial that failed has cost what it has cost

    cost = analyse(records_of([narrow, wide]), (32, 256)).cost

    assert cost.narrow_sweep == 6.0 * len(narrow.lrs)
    assert cost.wide_run == 2.0
    assert cost.share == (cost.narrow_sweep + 2.0) / (6.0 * len(wide.lrs))


def test_one_width_has_neither_drift_nor_cost():
    analysis = analyse(records_of([make_curve(32, -6)]), (32,))

    assert analysis.drift is analysis.cost is None
    assert len(analysis.widths) == 1


def test_nothing_is_said_before_a_trial_has_completed():
    assert (
        analyse([make_trial(32, 0, 0.01, [math.inf]), make_trial(32, 1, 0.02, [0.5], state=TrialState.RUNNING)]) is None
    )


def test_a_study_says_what_it_lacks():
    finished = make_curve(32, -6)
    at_edge = make_curve(64, -6)
    for_edge = at_edge.log2_lrs <= -6
    coarse = np.isin(make_curve(128, -6).log2_lrs, [-9, -8, -7, -6, -5, -4])
    records = records_of([finished])
    records += [record for record, kept in zip(records_of([at_edge]), for_edge, strict=True) if kept]
    records += [record for record, kept in zip(records_of([make_curve(128, -6)]), coarse, strict=True) if kept]
    records += [make_trial(256, 0, 0.01, [0.5] * 3, state=TrialState.RUNNING)]

    assert analyse(records, (32, 64, 128, 256, 512)).missing == (
        "width 64: the best rate is the highest that was tried, so the optimum may lie beyond it",
        "width 128: no trial -0.5 and +0.5 octaves from the best rate",
        "width 256: 1 trial is still running",
        "width 256: no trial has completed",
        "width 512: no trial has completed",
    )


def test_a_wide_grid_that_does_not_reach_the_carried_rate_is_told():
    narrow, wide = make_curve(32, -3.5), make_curve(64, -7)

    assert analyse(records_of([narrow, wide]), (32, 64)).missing == (
        "width 64: no trial near the lr that is carried; a wider range of lr in the space would have one",
    )


def test_a_rate_whose_trial_broke_off_is_told_as_unknown_not_as_diverged():
    *trials, last = records_of([make_curve(32, -6.2)])
    reason = "3 workers died while they trained it; the last: its process died"
    broke_off = replace(last, state=TrialState.FAILED, failure=f"{reason}\nTraceback")

    analysis = analyse([*trials, broke_off], (32,))

    assert analysis.missing == (f"width 32: lr 0.0625 is unknown, as its trial broke off ({reason})",)
    assert analysis.narrowest.curve.lrs.tolist() == [trial.lr for trial in trials]


def test_an_optimum_that_is_no_parabolas_minimum_is_told():
    curve = make_curve(32, -6)
    curve.objectives[:, curve.log2_lrs > -6] = math.inf
    curve.objectives[:, curve.log2_lrs < -7] = math.inf

    cliff, lack = analyse(records_of([curve]), (32,)).missing

    assert cliff.startswith("width 32: every rate above the best one diverged")
    assert lack.endswith("not a parabola's minimum: only 3 of the 5 points of a parabola")


def test_json_holds_every_figure():
    curves = make_curves(-0.5)
    curves[3].objectives[:, -1] = math.inf

    read = json.loads(json.dumps(analyse(records_of(curves)).to_dict(), allow_nan=False))

    assert read["drift"]["value"] == pytest.approx(-0.5)
    assert [width["width"] for width in read["widths"]] == list(WIDTHS)
    assert read["widths"][0]["gap"] is None
    assert read["widths"][3]["curve"]["losses"][0][-1] == "infinite"
