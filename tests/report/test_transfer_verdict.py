"""The verdict of studies whose outcome is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
from lr_curves import WIDTHS, curve_of, make_curve, make_curves, records_of

from raytag.report.intervals import Estimate
from raytag.report.transfer_analysis import analyse_transfer
from raytag.report.transfer_verdict import Conclusion, fails_as_control, findings_of, judge, title_of


def study(drift, parametrisation="mup", noise=1e-5, **settings):
    return study_of(make_curves(drift, noise=noise, rng=np.random.default_rng(1), **settings), parametrisation)


def study_of(curves, parametrisation="mup"):
    label = {"mup": "muP", "standard": "standard"}[parametrisation]
    return analyse_transfer(label, parametrisation, [curve.width for curve in curves], records_of(curves))


def study_of_losses(losses, first, step=1.0):
    """A study of three seeds whose widths have the same losses, less .02 per doubling, but for a little noise."""
    rng, curves = np.random.default_rng(1), []
    for doublings, width in enumerate(WIDTHS):
        seeds = rng.normal(0, 1e-2, (3, 1)) + rng.normal(0, 1e-5, (3, len(losses)))
        curves.append(curve_of(losses + seeds - 0.02 * doublings, first=first, step=step, width=width))
    return study_of(curves)


@pytest.fixture(scope="module")
def control():
    return study(-1.0, "standard")


@pytest.mark.parametrize(
    ("drift", "half_width", "holds"),
    [
        (0.05, 0.10, True),
        (-0.29, 0.10, True),
        (0.29, 0.12, None),  # the interval ends at .41
        (-0.29, 0.12, None),
        (0.00, 0.50, None),  # "not significantly different from zero" is no proof
        (0.20, 0.05, True),  # nor is being so a failure
        (0.31, 0.05, False),
        (-1.00, 0.30, False),
        (-1.00, 1.10, None),
        (0.05, math.nan, None),
    ],
)
def test_the_drift_is_judged_by_equivalence(drift, half_width, holds):
    finding, *_ = findings_of(replace(study(0.0), drift=Estimate(drift, half_width)))

    assert finding.holds is holds


@pytest.mark.parametrize(
    ("losses", "step", "reason"),
    [
        ([0.95, 0.90, 0.80, 0.95], 1, "at width 32 no trial -0.5 and +0.5 octaves from the best rate"),
        ([0.93, 0.80, 0.84, 0.9], 0.5, "at width 32 no trial -1 octaves from the best rate"),
        ([0.80, 0.84, 0.90, 0.95, 1.1], 1, "the best rate is the lowest that was tried"),
        ([1.1, 0.95, 0.90, 0.84, 0.80], 1, "the best rate is the highest that was tried"),
        ([0.93, 0.91, 0.88, 0.85, 0.8, math.inf, math.inf], 0.5, "every rate above the best one diverged"),
        ([math.inf, 0.9, 0.85, 0.8, 0.83, 0.9], 0.5, None),
        ([math.inf, 0.9, 0.8, 0.83, 0.9], 0.5, "not a parabola's minimum: only 4 of the 5 points"),
        ([1.2, 1.0, 0.8, 0.801, 0.803, 0.806, 0.81], 0.5, "not a parabola's minimum: the minimum lies beyond"),
    ],
)
def test_where_all_seeds_choose_the_same_rate_for_want_of_others_nothing_is_concluded(losses, step, reason, control):
    subject = study_of_losses(losses, -8, step)
    drift, *_ = findings_of(subject)

    assert drift.holds is (True if reason is None else None)
    assert reason is None or reason in drift.text
    assert subject.drift.has_interval is (reason is None)
    assert judge(subject, [control]).conclusion is (Conclusion.UNDECIDED if reason else Conclusion.TRANSFERS)


def test_the_widths_whose_optimum_is_not_known_are_named():
    curves = make_curves(-1.0)
    cut = [curve_of(curve.objectives[:, curve.log2_lrs >= -8], first=-8, step=1, width=curve.width) for curve in curves]
    at_edge = study_of([*curves[:2], *cut[2:]])

    assert title_of(at_edge) == "muP: optimum not known at width 128, 256"
    assert "at width 128" in findings_of(at_edge)[0].text
    assert findings_of(at_edge)[0].text.endswith("beyond it (nor is it known at width 256).")


def test_a_failure_at_a_width_whose_own_optimum_lies_beyond_its_grid_is_one_all_the_same():
    narrow, *_, wide = make_curves(-1.0, noise=1e-5, rng=np.random.default_rng(1))
    kept = wide.log2_lrs >= -8
    cut = replace(wide, lrs=wide.lrs[kept], objectives=wide.objectives[:, kept], flops=wide.flops[kept])

    assert judge(study_of([narrow, cut])).conclusion is Conclusion.FAILS


def test_what_a_rate_costs_that_may_not_be_the_narrow_optimum_is_no_failure(control):
    narrow, wide = curve_of([[0.7, 0.75, 0.8, 0.9, 1.0]] * 3), make_curve(256, -6.0)
    subject = study_of([narrow, wide])

    assert subject.widest.gap.value > 0.1
    assert judge(subject, [control]).conclusion is Conclusion.UNDECIDED


def test_seeds_that_agree_to_the_last_digit_measure_nothing(control):
    verdict = judge(study(0.0, noise=0.0), [control])

    assert verdict.conclusion is Conclusion.UNDECIDED
    assert "the seeds agree to the last digit" in verdict.reasons[0]


@pytest.mark.parametrize(
    ("gap", "holds"),
    [
        (Estimate(0.015, 0.004), True),
        (Estimate(-0.02, 0.03), True),
        (Estimate(0.019, 0.002), None),  # the interval ends at 2.1 %
        (Estimate(0.0, 0.05), None),
        (Estimate(0.001), None),  # of a single seed
        (Estimate(0.0, 0.0), None),  # both rates are the same one of those tried
        (Estimate(0.021, 0.05), None),
        (Estimate(0.03, 0.02), False),
        (Estimate(math.inf), False),
        (Estimate(math.nan), None),
    ],
)
def test_the_worst_gap_of_all_widths_is_judged(gap, holds):
    analysis = study(0.0)
    narrow, middle, *wider = analysis.widths
    _, finding, _ = findings_of(replace(analysis, widths=(narrow, replace(middle, gap=gap), *wider)))

    assert finding.holds is holds


def test_a_gap_beside_the_best_rate_of_a_grid_that_ends_there_is_undecided():
    analysis = study(0.0)
    *narrower, widest = analysis.widths
    lacking = replace(widest, lacks=("the best rate is the lowest that was tried",))
    _, finding, _ = findings_of(replace(analysis, widths=(*narrower, lacking)))

    assert finding.holds is None
    assert finding.text.endswith("allowed: 2 %, undecided: the best rate is the lowest that was tried.")


@pytest.mark.parametrize("seen", [Estimate(math.inf), Estimate(0.1, 0.02)])
def test_a_width_that_nobody_tried_hides_no_failure_at_another(seen):
    analysis = study(0.0)
    narrow, middle, wide, widest = analysis.widths
    widths = (narrow, replace(middle, gap=seen), replace(wide, gap=Estimate(math.nan)), widest)
    _, finding, _ = findings_of(replace(analysis, widths=widths))

    assert finding.holds is False


@pytest.mark.parametrize(
    ("gain", "holds"),
    [
        (Estimate(-0.02, 0.01), True),
        (Estimate(-0.02, 0.03), None),
        (Estimate(0.02, 0.01), False),
        (Estimate(-0.02), None),
    ],
)
def test_the_wide_model_must_beat_the_narrow_one(gain, holds):
    analysis = study(0.0)
    *narrower, widest = analysis.widths
    *_, finding = findings_of(replace(analysis, widths=(*narrower, replace(widest, gain=gain))))

    assert finding.holds is holds


def test_a_study_that_transfers_and_whose_control_fails_transfers(control):
    verdict = judge(study(0.05), [control])

    assert verdict.conclusion is Conclusion.TRANSFERS
    assert verdict.sentence == "The learning rate transfers from width 32 to 256."
    assert "muP: the optimum moves by +0.05 ± 0.00 octaves of lr" in verdict.reasons[0]
    assert "fails as it must: drift -1.00" in verdict.reasons[3]
    assert "operations of the wide sweep" in verdict.reasons[4]


def test_a_control_that_does_not_fail_leaves_nothing_to_say():
    verdict = judge(study(0.0), [study(-0.2, "standard")])

    assert verdict.conclusion is Conclusion.CANNOT_TELL
    assert "cannot tell whether the learning rate transfers: its control does not fail" in verdict.sentence


def test_a_failure_is_a_failure_whatever_the_control_does():
    assert judge(study(-1.0), [study(0.0, "standard")]).conclusion is Conclusion.FAILS
    assert judge(study(-1.0)).conclusion is Conclusion.FAILS


def test_a_study_without_a_control_cannot_tell():
    verdict = judge(study(0.0))

    assert verdict.conclusion is Conclusion.CANNOT_TELL
    assert verdict.sentence == "The study cannot tell whether the learning rate transfers: it has no control."
    assert "nothing shows that this study would have seen a failure" in verdict.reasons[3]


@pytest.mark.parametrize(
    ("drift", "gap", "fails"), [(-0.5, 0.08, True), (-0.49, 0.2, False), (-1.0, 0.07, False), (-1.0, math.inf, True)]
)
def test_a_control_must_fail_clearly_in_both_figures(control, drift, gap, fails):
    *narrower, widest = control.widths
    changed = replace(control, drift=Estimate(drift, 0.1), widths=(*narrower, replace(widest, gap=Estimate(gap, 0.01))))

    assert fails_as_control(changed) is fails


def test_a_control_whose_failure_may_be_noise_does_not_fail(control):
    *narrower, widest = control.widths

    assert not fails_as_control(replace(control, widths=(*narrower, replace(widest, gap=Estimate(0.3, 0.4)))))


def test_a_control_that_carries_a_rate_that_may_be_any_shows_nothing(control):
    narrow, *wider = control.widths
    changed = replace(control, widths=(replace(narrow, lacks=("the best rate is the lowest that was tried",)), *wider))
    verdict = judge(study(0.0), [changed])

    assert verdict.conclusion is Conclusion.CANNOT_TELL
    assert "shows nothing: at width 32 the best rate is the lowest" in verdict.reasons[3]


def test_a_single_seed_decides_nothing(control):
    verdict = judge(study(0.0, seeds=1), [control])

    assert verdict.conclusion is Conclusion.UNDECIDED
    assert "a single seed gives no interval" in verdict.reasons[0]


def test_one_width_shows_no_transfer():
    one = analyse_transfer("muP", "mup", (32,), records_of([make_curve(32, -6)]))

    assert judge(one).sentence == "One width shows no transfer: it takes two (search.widths)."


def test_an_unfinished_study_speaks_of_what_there_is(control):
    verdict = judge(replace(study(0.05), missing=("width 512: no trial has completed",)), [control])

    assert verdict.sentence == "So far, the learning rate transfers from width 32 to 256."
