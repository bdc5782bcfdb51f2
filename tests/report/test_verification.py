import math
from dataclasses import replace

import numpy as np
import pytest
from lr_curves import make_curve, make_trial, records_of

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
        (-6.1, 0.03, True, "of the loss: within 2 %, though the interval reaches"),
        (-4.5, 1e-4, False, "more than 2 %, so tune lr at this width"),
        (-5.0, 0.03, None, "undecided"),
    ],
)
def test_the_verdict_is_in_the_sentence(optimum, noise, holds, end):
    found = verify(optimum, noise=noise)

    assert (found.holds, end in sentence_of(found)) == (holds, True), sentence_of(found)


def test_a_carried_rate_that_diverges_is_told():
    trials = [make_trial(64, 0, 2**-8, [0.9, 0.9, 0.9]), make_trial(64, 1, 2**-6, [math.inf] * 3)]

    found = verification_of(trials, 2**-6)

    assert found.holds is False
    assert sentence_of(found) == "at the carried rate the wide model diverges"


def test_a_carried_rate_that_was_stopped_early_is_told():
    trials = [make_trial(64, 0, 2**-8, [0.9, 0.9, 0.9]), make_trial(64, 1, 2**-6, [math.nan] * 3)]

    assert "stopped early" in sentence_of(verification_of(trials, 2**-6))


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
    assert "not a parabola's minimum" in lines[2]
