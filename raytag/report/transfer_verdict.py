"""What a transfer study shows, in words: whether the best learning rate stays where it is when the model widens.

Three questions are asked of a study, each answered with yes, no or undecided. A control, the standard parametrisation,
must fail them: a study that sees no failure where there is one can tell nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from raytag.report.intervals import Estimate
from raytag.report.transfer_analysis import TransferAnalysis, TransferCost, WidthResult

__all__ = [
    "MAX_GAP",
    "Conclusion",
    "Finding",
    "Verdict",
    "fails_as_control",
    "findings_of",
    "is_allowed",
    "judge",
    "percent",
    "title_of",
    "why_undecided",
]

# Octaves of lr per doubling of the width: a drift is equivalent to none if it is this small and its interval lies
# within the bound. Over three doublings it moves the optimum by 0.9 octaves, which costs GN2 about 1.6 % of its loss.
MAX_DRIFT, DRIFT_BOUND = 0.3, 0.4
MAX_GAP = 0.02  # of the loss; so far may the interval reach
CONTROL_DRIFT, CONTROL_GAP = -0.5, 0.08  # as far as this a control must fail
MAX_COST = 0.25  # of the sweep at the target width
LEAST_SCATTER = 1e-9  # octaves, or share of the loss

NO_CONTROL = "There is no control, so nothing shows that this study would have seen a failure."


class Conclusion(StrEnum):
    """The answer in a word or two."""

    TRANSFERS = "transfers"
    FAILS = "does not transfer"
    UNDECIDED = "undecided"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class Finding:
    """The answer to one question with its figures; ``holds`` is None where it is undecided."""

    holds: bool | None
    text: str


@dataclass(frozen=True)
class Verdict:
    """The conclusion about a study in a word and in a sentence, and the sentences that lead to it."""

    conclusion: Conclusion
    sentence: str
    reasons: tuple[str, ...]


def judge(subject: TransferAnalysis, controls: Sequence[TransferAnalysis] = ()) -> Verdict:
    """Return the verdict on a study with at least one width, given its controls."""
    if subject.drift is None:
        sentence = "One width shows no transfer: it takes two (search.widths)."
        return Verdict(Conclusion.UNDECIDED, sentence, ())
    findings = findings_of(subject)
    conclusion = _conclude([finding.holds for finding in findings], controls)
    texts = [finding.text for finding in findings]
    texts += [_describe_control(control) for control in controls] or [NO_CONTROL]
    texts += [_describe_cost(subject.cost)] if subject.cost and math.isfinite(subject.cost.share) else []
    return Verdict(conclusion, _sentence(conclusion, subject, controls), tuple(texts))


def _conclude(answers: Sequence[bool | None], controls: Sequence[TransferAnalysis]) -> Conclusion:
    """Draw the conclusion; a failure that was seen needs no control, anything else one, and all must fail."""
    if False in answers:
        return Conclusion.FAILS
    if not controls or not all(fails_as_control(control) for control in controls):
        return Conclusion.CANNOT_TELL
    return Conclusion.UNDECIDED if None in answers else Conclusion.TRANSFERS


def _sentence(conclusion: Conclusion, subject: TransferAnalysis, controls: Sequence[TransferAnalysis]) -> str:
    span = f"from width {subject.narrowest.width} to {subject.widest.width}"
    is_finished = not any(study.missing for study in (subject, *controls))
    so_far = "" if is_finished else "so far, "
    match conclusion:
        case Conclusion.TRANSFERS:
            text = f"{so_far}the learning rate transfers {span}."
        case Conclusion.FAILS:
            text = f"{so_far}the learning rate does not transfer {span}."
        case Conclusion.UNDECIDED:
            text = f"{so_far}it is undecided whether the learning rate transfers {span}."
        case Conclusion.CANNOT_TELL:
            why = "its control does not fail as it should" if controls else "it has no control"
            text = f"{so_far}the study cannot tell whether the learning rate transfers: {why}."
    return text[0].upper() + text[1:]


def findings_of(analysis: TransferAnalysis) -> tuple[Finding, ...]:
    """Say of several widths whether the optimum stays, the carried lr is good enough, and the wide model is better."""
    findings = _judge_drift(analysis), _judge_gap(analysis), _judge_gain(analysis)
    if analysis.narrowest.lacks:  # the rate that was carried may be any
        return tuple(replace(finding, holds=None) for finding in findings)
    return findings


def fails_as_control(analysis: TransferAnalysis) -> bool:
    """Tell whether a control fails as clearly as it must; what it carries must be known, and the gap no noise."""
    gap = analysis.widest.gap
    if analysis.drift is None or gap is None or analysis.narrowest.lacks:
        return False
    is_seen = math.isinf(gap.value) or gap.excludes_zero
    return is_seen and analysis.drift.value <= CONTROL_DRIFT and gap.value >= CONTROL_GAP


def title_of(analysis: TransferAnalysis) -> str:
    """Return the study's finding as a headline."""
    if analysis.drift is None:
        return f"{analysis.label}: one width"
    if unknown := [str(result.width) for result in analysis.widths if result.lacks]:
        return f"{analysis.label}: optimum not known at width {', '.join(unknown)}"
    return f"{analysis.label}: optimum moves {analysis.drift.text(2)} octaves per doubling"


def is_allowed(gap: Estimate, lacks: Sequence[str]) -> bool | None:
    """Tell whether a rate may cost that much more than the optimum, of which something may be lacking; None: undecided.

    It may not if it costs more than allowed by its estimate and more than nothing by its interval: an optimum better
    than the best rate tried would make that no less. It may only if the whole interval is allowed.
    """
    if math.isinf(gap.value) or (gap.value > MAX_GAP and gap.excludes_zero):
        return False
    return True if not lacks and _has_scatter(gap) and gap.high <= MAX_GAP else None


def why_undecided(gap: Estimate, lacks: Sequence[str]) -> str:
    """Say why it is undecided whether a gap is allowed."""
    if lacks:
        return lacks[0]
    return f"the interval reaches {100 * gap.high:.1f} %" if _has_scatter(gap) else _why_no_scatter(gap)


def percent(share: Estimate) -> str:
    """Return a share of the loss in percent; a training that diverged has none."""
    if math.isinf(share.value):
        return "diverges"
    shown = share if _has_scatter(share) else Estimate(share.value)
    return "not tried" if math.isnan(share.value) else f"{shown.text(1, 100)} %"


def _judge_drift(analysis: TransferAnalysis) -> Finding:
    """Test for equivalence with two one-sided tests (Schuirmann 1987): the interval must lie within the bounds.

    The interval of 95 % makes it a test at 2.5 %. "Not significantly different from zero" would be no answer: few seeds
    make anything insignificant.
    """
    label, drift = analysis.label, analysis.drift
    assert drift is not None
    if unknown := [result for result in analysis.widths if result.lacks]:
        return Finding(None, f"{label}: whether the optimum moves is undecided: {_describe_lacks(unknown)}.")
    moves = f"{label}: the optimum moves by {drift.text(2)} octaves of lr per doubling of the width"
    bounds = f"|drift| ≤ {MAX_DRIFT} with its interval within ± {DRIFT_BOUND}"
    is_small = abs(drift.value) <= MAX_DRIFT
    if not _has_scatter(drift):
        return Finding(None, f"{moves}; {_why_no_scatter(drift)}.")
    if is_small and drift.low >= -DRIFT_BOUND and drift.high <= DRIFT_BOUND:
        return Finding(True, f"{moves}: equivalent to no drift ({bounds}).")
    if not is_small and drift.excludes_zero:
        return Finding(False, f"{moves}: it drifts (allowed: {bounds}).")
    return Finding(None, f"{moves}: undecided ({bounds} would be no drift).")


def _has_scatter(estimate: Estimate) -> bool:
    """Whether seeds give the figure an interval; one without width is that of a choice, or of copies, of the same."""
    return estimate.has_interval and estimate.half_width > LEAST_SCATTER


def _why_no_scatter(estimate: Estimate) -> str:
    if estimate.has_interval:
        return "the seeds agree to the last digit, so they measure no error"
    return "a single seed gives no interval (search.replicas)"


def _describe_lacks(results: Sequence[WidthResult]) -> str:
    """Tell the first lack of the first width, and at which others the optimum is not known either."""
    first, *others = results
    either = f" (nor is it known at width {', '.join(str(result.width) for result in others)})" if others else ""
    return f"at width {first.width} {first.lacks[0]}{either}"


def _judge_gap(analysis: TransferAnalysis) -> Finding:
    """Ask for a small gap at every wider width; the worst one is told, or an undecided one if none is too large."""
    result = max((result for result in analysis.widths if result.gap), key=_poorness)
    width, gap = result.width, result.gap
    assert gap is not None
    holds = is_allowed(gap, result.lacks)
    tuned = f"the lr tuned at width {analysis.narrowest.width}"
    if math.isnan(gap.value):
        return Finding(None, f"Nothing was trained at width {width} near {tuned}: the transfer gap is unknown.")
    if math.isinf(gap.value):
        return Finding(False, f"At {tuned} the model of width {width} diverges.")
    costs = f"At {tuned} the loss is off the best of its width by at most {percent(gap)} (width {width})"
    undecided = f", undecided: {why_undecided(gap, result.lacks)}" if holds is None else ""
    return Finding(holds, f"{costs}; allowed: {100 * MAX_GAP:.0f} %{undecided}.")


def _poorness(result: WidthResult) -> tuple[bool, bool, bool, float]:
    assert result.gap is not None
    holds = is_allowed(result.gap, result.lacks)
    return holds is False, holds is None, math.isnan(result.gap.value), result.gap.value


def _judge_gain(analysis: TransferAnalysis) -> Finding:
    wide, narrow, gain = analysis.widest.width, analysis.narrowest.width, analysis.widest.gain
    assert gain is not None
    if math.isnan(gain.value):
        return Finding(None, f"It is unknown whether width {wide} beats width {narrow} at this lr.")
    if math.isinf(gain.value):
        return Finding(False, f"Width {wide} does not beat width {narrow} at this lr.")
    apart = f"loss of width {wide} less that of width {narrow} at this lr: {gain.text(4)}"
    if not gain.has_interval:
        return Finding(None, f"The {apart}, from a single seed.")
    if not gain.excludes_zero:
        return Finding(None, f"The {apart}: undecided which is better.")
    return Finding(gain.value < 0, f"The {apart}: the {'wide' if gain.value < 0 else 'narrow'} model is better.")


def _describe_control(control: TransferAnalysis) -> str:
    gap = control.widest.gap
    if control.drift is None or gap is None:
        return f"The control ({control.label}) has one width, which shows nothing."
    if control.narrowest.lacks:
        return f"The control ({control.label}) shows nothing: {_describe_lacks([control.narrowest])}."
    costs = f"gap {percent(gap)}" if math.isfinite(gap.value) else f"carried lr {percent(gap)}"
    figures = f"drift {control.drift.text(2)}, {costs} at width {control.widest.width}"
    limits = f"drift ≤ {CONTROL_DRIFT}, gap ≥ {100 * CONTROL_GAP:.0f} %"
    if fails_as_control(control):
        return f"The control ({control.label}) fails as it must: {figures} (expected: {limits})."
    return f"The control ({control.label}) does not fail: {figures} (expected: {limits})."


def _describe_cost(cost: TransferCost) -> str:
    share = f"{100 * cost.share:.0f} % of the operations of the wide sweep"
    return f"The narrow sweep and one wide run take {share} (aim: at most {100 * MAX_COST:.0f} %)."
