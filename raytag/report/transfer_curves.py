"""Loss against learning rate, a curve per width, and the learning rate at which it is lowest.

All seeds of a width train at the same learning rates, each from the same initial weights at every rate, so that curves
are compared seed by seed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raytag.records import TrialRecord, TrialState

__all__ = ["POINTS_OF_FIT", "Floats", "LrCurve", "Optimum", "broken_off", "curves_of", "fit_optimum", "lacks_of"]

Floats = NDArray[np.float64]

POINTS_OF_FIT = 5
SAME_RATE = 1e-6  # octaves; rates this close are one rate, written by two roundings
# Octaves from the best rate at which there should be trials, so that the parabola's five points lie close around it.
AROUND_BEST = (-1.0, -0.5, 0.5, 1.0)


@dataclass(frozen=True)
class LrCurve:
    """The losses of one width: S seeds at L learning rates, ascending.

    ``objectives`` (S, L) is infinite where the trial diverged and NaN where it was pruned, which says no more than that
    it was poor. ``flops`` (L,) are those of all seeds (and folds) of a rate, up to the end of its training.
    """

    width: int
    lrs: Floats
    objectives: Floats
    flops: Floats
    num_folds: int = 1

    @property
    def num_seeds(self) -> int:
        """S."""
        return len(self.objectives)

    @property
    def log2_lrs(self) -> Floats:
        """Octaves of the learning rates (L,)."""
        return np.log2(self.lrs)

    @property
    def mean(self) -> Floats:
        """Mean over the seeds (L,)."""
        mean: Floats = self.objectives.mean(axis=0)
        return mean

    @property
    def sweep_flops(self) -> float:
        """What its trials took, also those that diverged or were pruned."""
        return float(self.flops.sum())

    @property
    def run_flops(self) -> float:
        """What one training of full length takes."""
        return float(self.flops[np.isfinite(self.mean)].max()) / (self.num_seeds * self.num_folds)

    def losses_at(self, log2_lr: float) -> Floats:
        """Return the loss of each seed (S,) at any learning rate, linearly interpolated in log2(lr).

        Rounding to the nearest rate of the grid would move a rate by up to half a step, a quarter to half an octave,
        which is what the drift is about. The chord of a parabola with curvature a (per square octave) lies up to a h²/4
        above it between rates h octaves apart: with the 2 % of GN2, .13 % of the loss where the grid is refined.

        Pruned rates are passed over. Between a rate that diverged and one that did not the nearer one decides. Beyond
        the grid the loss is infinite if the last rate on that side diverged, else NaN: nobody has tried.
        """
        known = ~np.isnan(self.mean)
        x, losses = self.log2_lrs[known], self.objectives[:, known]
        nearest = int(np.abs(x - log2_lr).argmin())
        if abs(x[nearest] - log2_lr) < SAME_RATE:
            return losses[:, nearest]
        right = int(np.searchsorted(x, log2_lr))
        if right in (0, len(x)):
            return np.where(np.isinf(losses[:, nearest]), math.inf, math.nan)
        share = (log2_lr - x[right - 1]) / (x[right] - x[right - 1])
        pair = losses[:, [right - 1, right]]
        return np.where(np.isfinite(pair).all(axis=1), pair @ [1 - share, share], losses[:, nearest])


@dataclass(frozen=True)
class Optimum:
    """The best learning rate of a curve; ``fallback`` says why it is not a parabola's minimum."""

    log2_lr: float
    fallback: str | None = None

    @property
    def lr(self) -> float:
        """The learning rate itself."""
        return math.exp2(self.log2_lr)


def curves_of(records: Sequence[TrialRecord]) -> list[LrCurve]:
    """Return the curve of every width that has a completed trial, the narrowest first.

    Trials that run or broke off are left out: nothing is known of their rates.
    """
    widths = sorted({record.width for record in records if record.state is TrialState.COMPLETE})
    return [_curve_of([record for record in records if record.width == width]) for width in widths]


def broken_off(records: Iterable[TrialRecord]) -> Iterator[str]:
    """Say which rates are unknown because their trials broke off, and why."""
    for record in records:
        if record.broke_off:
            yield f"lr {record.lr:.3g} is unknown, as its trial broke off ({record.failure_reason})"


def _curve_of(records: Sequence[TrialRecord]) -> LrCurve:
    known = [record for record in records if record.is_finished and not record.broke_off]
    trials = sorted(known, key=lambda record: record.lr)
    complete = next(record for record in trials if record.state is TrialState.COMPLETE)
    instead = {TrialState.FAILED: math.inf, TrialState.PRUNED: math.nan}
    columns = [
        [instead[trial.state]] * len(complete.objectives)
        if trial.state in instead
        else [float(np.mean(folds)) for folds in trial.objectives]
        for trial in trials
    ]
    return LrCurve(
        width=complete.width,
        lrs=np.array([trial.lr for trial in trials]),
        objectives=np.array(columns).T,
        flops=np.array([trial.cost.train_flops for trial in trials]),
        num_folds=complete.num_folds,
    )


def fit_optimum(curve: LrCurve, seeds: Sequence[int] | None = None) -> Optimum:
    """Return the minimum of a parabola in log2(lr) through the five lowest points of the mean over seeds.

    ``seeds`` are the rows to average, repeated ones counting as often as they appear; None: all. The five points weigh
    the same. A minimum beyond them is clipped to their range. With fewer than five finite points, a parabola that opens
    downwards, or a minimum at a rate between them that diverged, it is the lowest point instead. ``fallback`` names
    what was done.
    """
    mean = curve.mean if seeds is None else curve.objectives[list(seeds)].mean(axis=0)
    order = np.argsort(mean, kind="stable")  # NaN comes last
    lowest = order[: min(POINTS_OF_FIT, np.isfinite(mean).sum())]
    x, losses = curve.log2_lrs[lowest], mean[lowest]
    if len(lowest) < POINTS_OF_FIT:
        return Optimum(float(x[0]), f"only {len(lowest)} of the {POINTS_OF_FIT} points of a parabola")
    centre = x.mean()
    a, b, _ = np.polyfit(x - centre, losses, 2)
    if a <= 0:
        return Optimum(float(x[0]), "the five lowest points bend downwards")
    minimum = -b / (2 * a)
    shift = float(np.clip(minimum, x.min() - centre, x.max() - centre))
    if np.isinf(curve.losses_at(float(centre) + shift)).any():
        return Optimum(float(x[0]), "the parabola's minimum is nearest to a rate that diverged")
    beyond = "the minimum lies beyond the five lowest points" if abs(minimum - shift) > SAME_RATE else None
    return Optimum(float(centre) + shift, beyond)


def lacks_of(curve: LrCurve) -> Iterator[str]:
    """Say why the optimum of a curve is not to be relied on; nothing if it is.

    Where something is lacking, all seeds may well choose the same of the rates that were tried, and that they agree
    says nothing of how far it is from the optimum.
    """
    x, mean = curve.log2_lrs, curve.mean
    best, bounded = x[np.nanargmin(mean)], x[~np.isinf(mean)]
    absent = [around for around in AROUND_BEST if np.abs(x - best - around).min() > SAME_RATE]
    if best in (x.min(), x.max()):
        end = "lowest" if best == x.min() else "highest"
        yield f"the best rate is the {end} that was tried, so the optimum may lie beyond it"
    elif absent:
        yield f"no trial {' and '.join(f'{octaves:+g}' for octaves in absent)} octaves from the best rate"
    elif best in (bounded.min(), bounded.max()):
        side = "below" if best == bounded.min() else "above"
        yield f"every rate {side} the best one diverged, so the optimum is known to a step of the grid only"
    if fallback := fit_optimum(curve).fallback:
        yield f"the optimum is a rate that was tried, not a parabola's minimum: {fallback}"
