"""Whether a learning rate that was carried to a wide model is the best one there: the answer of a few rates around it.

The figures are those of :mod:`raytag.report.transfer_estimates`, for one width and one given rate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raytag.records import Cost, TrialRecord, TrialState
from raytag.report.intervals import Estimate
from raytag.report.transfer_curves import SAME_RATE, LrCurve, Optimum, broken_off, curves_of, fit_optimum, lacks_of
from raytag.report.transfer_estimates import bootstrap_optima, estimate_gap_of_rate
from raytag.report.transfer_verdict import MAX_GAP, is_allowed, percent, why_undecided

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
        What the carried rate costs, as a share of the loss; cross-fitted over seeds. NaN if it was stopped early.
    cost
        What all trials took.
    num_stopped
        Trials that were stopped early.
    lacks
        Why the best rate is not to be relied on.
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
    lacks: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def is_carried_stopped(self) -> bool:
        """Whether the carried rate was stopped early."""
        return _is_stopped(self.curve, math.log2(self.lr))

    @property
    def holds(self) -> bool | None:
        """Whether the rate is good enough; None if that is undecided."""
        return False if self.is_carried_stopped else is_allowed(self.gap, self.lacks)

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
        gap=Estimate(math.nan) if _is_stopped(curve, carried) else estimate_gap_of_rate(carried, curve),
        cost=sum((record.cost for record in records), start=Cost()),
        num_stopped=sum(record.state is TrialState.PRUNED for record in records),
        lacks=tuple(lacks_of(curve)),
        unknown=tuple(broken_off(records)),
    )


def describe_verification(verification: Verification) -> Iterator[str]:
    """Yield the optimum, and what the carried rate costs, in words."""
    curve = verification.curve
    stopped = f", {verification.num_stopped} of them stopped early" if verification.num_stopped else ""
    yield f"{len(curve.lrs)} learning rates with {curve.num_seeds} seeds each at width {curve.width}{stopped}:"
    where = f"{verification.octaves.text(2)} octaves from the carried rate {verification.lr:.3g}"
    yield f"the best one is {verification.optimum.lr:.3g}, {where}"
    yield from (f"  ({told})" for told in (*verification.lacks, *verification.unknown))
    yield sentence_of(verification)


def sentence_of(verification: Verification) -> str:
    """Return the verdict: "the carried rate costs +0.3 ± 0.4 % of the loss: within 2 %"."""
    gap, bound = verification.gap, f"{100 * MAX_GAP:.0f} %"
    if verification.is_carried_stopped:
        return "the carried rate was stopped early, as five others were better: tune lr at this width"
    if math.isinf(gap.value):
        return "at the carried rate the wide model diverges"
    if math.isnan(gap.value):
        why = "trials broke off" if verification.unknown else "there was no trial near it"
        return f"what the carried rate costs is unknown, as {why}"
    costs = f"the carried rate costs {percent(gap)} of the loss"
    match verification.holds:
        case True:
            return f"{costs}: within {bound}"
        case False:
            return f"{costs}: more than {bound}, so tune lr at this width"
        case _:
            return f"{costs}: undecided whether within {bound}, as {why_undecided(gap, verification.lacks)}"


def _is_stopped(curve: LrCurve, log2_lr: float) -> bool:
    """Tell whether a rate was stopped early."""
    return bool(np.isnan(curve.mean[np.abs(curve.log2_lrs - log2_lr) < SAME_RATE]).any())
