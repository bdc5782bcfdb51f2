"""Whether a learning rate that was carried to a wide model is the best one there: the answer of a few rates around it.

The figures are those of :mod:`raytag.report.transfer_estimates`, for one width and one given rate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from raytag.records import Cost, TrialRecord, TrialState
from raytag.report.intervals import Estimate
from raytag.report.transfer_curves import LrCurve, Optimum, broken_off, curves_of, fit_optimum
from raytag.report.transfer_estimates import bootstrap_optima, estimate_gap_of_rate
from raytag.report.transfer_verdict import MAX_GAP, percent

__all__ = ["Verification", "describe_verification", "verification_of"]


@dataclass(frozen=True)
class Verification:
    """What the rates around a carried one say.

    Attributes
    ----------
    lr
        The carried rate.
    curve
        The losses of all rates, seed by seed.
    optimum
        The best rate.
    octaves
        How far it lies from the carried one, with its interval over seeds.
    gap
        What the carried rate costs, as a share of the loss; cross-fitted over seeds.
    cost
        What all trials took.
    num_stopped
        Trials that were stopped early.
    unknown
        The rates whose trials broke off, in words.
    """

    lr: float
    curve: LrCurve
    optimum: Optimum
    octaves: Estimate
    gap: Estimate
    cost: Cost
    num_stopped: int
    unknown: tuple[str, ...] = ()

    @property
    def holds(self) -> bool | None:
        """Whether the rate is good enough; None if that is undecided."""
        if self.gap.value <= MAX_GAP:
            return True
        return False if math.isinf(self.gap.value) or self.gap.excludes_zero else None

    def numbers(self) -> dict[str, float]:
        """Return the figures that are known, as a logbook's metrics."""
        numbers = {
            "verify/gap": self.gap.value,
            "verify/gap_half_width": self.gap.half_width,
            "verify/optimum_octaves": self.octaves.value,
            "verify/optimum_octaves_half_width": self.octaves.half_width,
            "verify/best_lr": self.optimum.lr,
        }
        return {name: value for name, value in numbers.items() if math.isfinite(value)}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "lr": self.lr,
            "best_lr": self.optimum.lr,
            "octaves": self.octaves.to_dict(),
            "gap": self.gap.to_dict(),
            "holds": self.holds,
            "num_seeds": self.curve.num_seeds,
            "num_rates": len(self.curve.lrs),
            "num_stopped": self.num_stopped,
            "unknown": list(self.unknown),
            "sentence": sentence_of(self),
        }


def verification_of(records: Sequence[TrialRecord], lr: float) -> Verification | None:
    """Return what the finished trials of one width say of a carried rate; None if none of them completed."""
    curves = curves_of(records)
    if not curves:
        return None
    (curve,) = curves
    (log2_lr,) = bootstrap_optima([curve])
    carried = math.log2(lr)
    return Verification(
        lr=lr,
        curve=curve,
        optimum=fit_optimum(curve),
        octaves=Estimate(log2_lr.value - carried, log2_lr.half_width),
        gap=estimate_gap_of_rate(carried, curve),
        cost=sum((record.cost for record in records), start=Cost()),
        num_stopped=sum(record.state is TrialState.PRUNED for record in records),
        unknown=tuple(broken_off(records)),
    )


def describe_verification(verification: Verification) -> Iterator[str]:
    """Yield the optimum, and what the carried rate costs, in words."""
    curve = verification.curve
    stopped = f", {verification.num_stopped} of them stopped early" if verification.num_stopped else ""
    yield f"{len(curve.lrs)} learning rates with {curve.num_seeds} seeds each at width {curve.width}{stopped}:"
    where = f"{verification.octaves.text(2)} octaves from the carried rate {verification.lr:.3g}"
    yield f"the best one is {verification.optimum.lr:.3g}, {where}"
    if verification.optimum.fallback:
        yield f"  (a rate that was tried, not a parabola's minimum: {verification.optimum.fallback})"
    yield from (f"  ({unknown})" for unknown in verification.unknown)
    yield sentence_of(verification)


def sentence_of(verification: Verification) -> str:
    """Return the verdict: "the carried rate costs +0.3 ± 0.4 % of the loss: within 2 %"."""
    gap, bound = verification.gap, f"{100 * MAX_GAP:.0f} %"
    if math.isinf(gap.value):
        return "at the carried rate the wide model diverges"
    if math.isnan(gap.value):
        if verification.unknown:
            return "what the carried rate costs is unknown, as trials broke off"
        return "the carried rate was stopped early, as five others were better: tune lr at this width"
    costs = f"the carried rate costs {percent(gap)} of the loss"
    match verification.holds:
        case True:
            reach = f", though the interval reaches {100 * gap.high:.1f} %" if gap.high > MAX_GAP else ""
            return f"{costs}: within {bound}{reach}"
        case False:
            return f"{costs}: more than {bound}, so tune lr at this width"
        case _:
            return f"{costs}: undecided, it may be none and it may be more than {bound}"
