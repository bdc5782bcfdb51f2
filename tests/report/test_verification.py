import math
from dataclasses import replace

import numpy as np
import pytest
from lr_curves import curve_of, make_curve, make_trial, records_of

from raytag.records import TrialState
from raytag.report.verification import describe_verification, sentence_of, verification_of


def verify(optimum, carried=-6.0, noise=1e-4, **settings):
    """Verify a carried rate (in octaves) by the trials of a curve with a known optimum."""
    curve = make_curve(64, optimum, noise=noise, rng=np.random.default_rng(1), **settings)
    return verification_of(records_of([curve]), 2.0**carried)


def test_the_optimum_is_told_in_octaves_from_the_carried_rate():
    found = verify(-5.3)

    assert found.octaves.value == pytest.approx(0.7, abs=0.02)
    assert found.octaves.low < 0.7 < found.octaves.high


def test_the_gap_is_what_the_carried_rate_costs():
    found = verify(-5.0)

    assert found.gap.value == pytest.approx(0.02 / 0.9, abs=2e-3)
    assert found.gap.has_interval


@pytest.mark.parametrize(
    ("optimum", "noise", "holds", "end"),
    [
        (-6.1, 1e-4, True, "of the loss: within 2 %"),
        (-6.1, 0.03, None, "of the loss: undecided whether within 2 %, as the interval reaches 5.7 %"),
        (-4.5, 1e-4, False, "more than 2 %, so tune lr at this width"),
        (-5.0, 0.03, None, "undecided"),
    ],
)
def test_the_verdict_is_in_the_sentence(optimum, noise, holds, end):
    found = verify(optimum, noise=noise)

    assert (found.holds, end in sentence_of(found)) == (holds, True), sentence_of(found)


def verify_losses(losses, carried, *, seeds=3, step=0.5):
    """Verify a carried rate by losses at rates from 2^-8 on, which have little noise."""
    noise = np.random.default_rng(1).normal(0, 1e-4, (seeds, len(losses)))
    return verification_of(records_of([curve_of(losses + noise, first=-8, step=step, width=64)]), 2.0**carried)


@pytest.mark.parametrize(
    ("losses", "carried", "settings", "why"),
    [
        ([0.80, 0.83, 0.86, 0.9, 1.0], -8, {}, "the best rate is the lowest that was tried"),
        ([0.81, 0.8, math.inf], -7, {"step": 1}, "no trial -0.5 and +0.5 octaves from the best rate"),
        ([0.82, 0.81, 0.8, 0.81, math.inf], -7, {}, "not a parabola's minimum: only 4 of the 5 points"),
        ([0.81, 0.8, 0.79, 0.8, 0.81], -7, {"seeds": 1}, "a single seed gives no interval"),
    ],
)
def test_where_the_best_rate_is_not_known_it_is_undecided_what_the_carried_one_costs(losses, carried, settings, why):
    found = verify_losses(losses, carried, **settings)

    assert found.holds is None
    assert "undecided whether within 2 %, as" in sentence_of(found)
    assert why in " ".join(describe_verification(found))


def test_a_carried_rate_that_costs_too_much_beside_the_best_one_tried_does_so_wherever_the_optimum_is():
    found = verify_losses([0.80, 0.83, 0.86, 0.9, 1.0], -7)

    assert found.lacks
    assert found.holds is False
    assert "more than 2 %" in sentence_of(found)


def test_a_carried_rate_that_diverges_is_told():
    trials = [make_trial(64, 0, 2**-8, [0.9, 0.9, 0.9]), make_trial(64, 1, 2**-6, [math.inf] * 3)]

    found = verification_of(trials, 2**-6)

    assert found.holds is False
    assert sentence_of(found) == "at the carried rate the wide model diverges"


@pytest.mark.parametrize(
    "losses", [[0.82, 0.81, 0.8, 0.81, 0.82, math.nan], [0.82, 0.81, 0.8, 0.81, 0.82, math.nan, 0.84]]
)
def test_a_carried_rate_that_was_stopped_early_is_not_good_enough(losses):
    found = verify_losses(losses, -5.5)

    assert sentence_of(found).startswith("the carried rate was stopped early")
    assert found.holds is False
    assert found.to_dict()["gap"]["value"] is None


def test_a_carried_rate_whose_trial_broke_off_is_told_as_unknown():
    broke_off = replace(make_trial(64, 1, 2**-6, [0.9] * 3, state=TrialState.FAILED), failure="out of memory")

    *_, why, last = describe_verification(verification_of([make_trial(64, 0, 2**-8, [0.9] * 3), broke_off], 2**-6))

    assert why == "  (lr 0.0156 is unknown, as its trial broke off (out of memory))"
    assert last == "what the carried rate costs is unknown, as trials broke off"


def test_without_a_completed_trial_nothing_is_said():
    assert verification_of([make_trial(64, 0, 2**-8, [math.inf] * 3)], 2**-8) is None


def test_the_cost_counts_every_trial():
    trials = [make_trial(64, 0, 2**-8, [0.9, 0.9], flops=2.0), make_trial(64, 1, 2**-6, [math.inf] * 2, flops=3.0)]

    assert verification_of(trials, 2**-8).cost.train_flops == 5.0


def test_the_report_names_rates_seeds_and_what_stands_in_for_a_parabola():
    lines = [*describe_verification(verification_of([make_trial(64, 0, 2**-8, [0.9, 0.9])], 2**-8))]

    assert lines[0] == "1 learning rates with 2 seeds each at width 64:"
    assert lines[2] == "  (the best rate is the lowest that was tried, so the optimum may lie beyond it)"
    assert "not a parabola's minimum" in lines[3]
