"""Loss against learning rate at several widths: where the optimum lies, how it moves, what carrying it costs.

All seeds of a width train at the same learning rates, each from the same initial weights at every rate, so that curves
are compared seed by seed. What the figures mean is said in :mod:`raytag.report.transfer_verdict`.

Every interval is one over seeds, that is over initial weights: jets, their order and the schedule are the same for all.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raytag.records import TrialRecord, TrialState
from raytag.report.intervals import Estimate, mean_of_seeds, student

__all__ = [
    "POINTS_OF_FIT",
    "LrCurve",
    "Optimum",
    "bootstrap_optima",
    "broken_off",
    "curves_of",
    "estimate_drift",
    "estimate_gain",
    "estimate_gap",
    "estimate_gap_of_rate",
    "fit_optimum",
]

Floats = NDArray[np.float64]

POINTS_OF_FIT = 5
SAME_RATE = 1e-6  # octaves; rates this close are one rate, written by two roundings
MAX_RESAMPLES = 2000  # up to 7 seeds all resamples are fewer than this


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
    """The best learning rate of a curve and the loss there; ``fallback`` says why it is not a parabola's minimum."""

    log2_lr: float
    loss: float
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
    the same, and the minimum is clipped to their range. With fewer than five finite points, a parabola that opens
    downwards, or a minimum at a rate between them that diverged, it is the lowest point instead, and ``fallback`` says
    so.
    """
    mean = curve.mean if seeds is None else curve.objectives[list(seeds)].mean(axis=0)
    order = np.argsort(mean, kind="stable")  # NaN comes last
    lowest = order[: min(POINTS_OF_FIT, np.isfinite(mean).sum())]
    x, losses = curve.log2_lrs[lowest], mean[lowest]
    if len(lowest) < POINTS_OF_FIT:
        return Optimum(float(x[0]), float(losses[0]), f"only {len(lowest)} of the {POINTS_OF_FIT} points of a parabola")
    centre = x.mean()
    a, b, c = np.polyfit(x - centre, losses, 2)
    if a <= 0:
        return Optimum(float(x[0]), float(losses[0]), "the five lowest points bend downwards")
    shift = float(np.clip(-b / (2 * a), x.min() - centre, x.max() - centre))
    if np.isinf(curve.losses_at(float(centre) + shift)).any():
        return Optimum(float(x[0]), float(losses[0]), "the parabola's minimum is nearest to a rate that diverged")
    return Optimum(float(centre) + shift, float(a * shift**2 + b * shift + c))


def bootstrap_optima(curves: Sequence[LrCurve]) -> list[Estimate]:
    """Return the optimum of each curve, log2(lr), with the bootstrap interval of :func:`estimate_drift`."""
    return [_bootstrap([curve], np.ones(1)) for curve in curves]


def estimate_drift(curves: Sequence[LrCurve]) -> Estimate:
    """Return the slope of the optimum's log2(lr) against log2(width): octaves per doubling, with a bootstrap interval.

    The slope is that of a straight line by least squares, the widths weighing the same.

    The interval is that of Student's t with S - 1 degrees of freedom around the slope of all seeds, its standard error
    the bootstrap's: seeds are drawn with replacement, the same ones at every width and rate, each draw goes through the
    choice of the five points, the parabolas and the line, and the scatter of the slopes is widened by √(S / (S - 1)),
    by which resampling S values understates it. For a mean this is exactly the interval of Student's t. All resamples
    are counted with their weights (10 of 3 seeds, 126 of 5), beyond 7 seeds 2000 drawn ones.

    Percentiles of the bootstrap would be no interval here: with 3 seeds they cannot leave the range of the three, which
    holds the truth in 75 % of cases (.5^(S-1) is what it misses). In 300 simulated studies each of 4 widths with
    curves of known drift the percentiles covered it in 76 to 80 % with 3 seeds, and this interval in 95 to 97 %.
    """
    log2_widths = np.log2([curve.width for curve in curves])
    distance = log2_widths - log2_widths.mean()
    return _bootstrap(curves, distance / (distance**2).sum())


def estimate_gap(narrow: LrCurve, wide: LrCurve) -> Estimate:
    """Return what the narrow optimum costs the wide model: its loss there over that at its own optimum, less 1.

    Cross-fitted: both optima are chosen on all seeds but one and the losses are those of the seed left out; each seed
    is left out once. Chosen and measured on the same seeds, the wide model's own optimum would profit from their noise
    and the gap come out too large. What remains is the gap between two choices that both err: against the wide model's
    true optimum, which nobody knows, the gap would be larger by what the error of the wide choice costs. It may come
    out negative. The interval is Student's t over the seeds left out. With a single seed nothing can be left out.
    """
    gaps = [_gap(wide, seed, others, fit_optimum(narrow, others).log2_lr) for seed, others in _left_out(wide)]
    return mean_of_seeds(gaps)


def estimate_gap_of_rate(log2_lr: float, wide: LrCurve) -> Estimate:
    """Return what a given rate costs the wide model, as :func:`estimate_gap` does; its own optimum is cross-fitted."""
    return mean_of_seeds([_gap(wide, seed, others, log2_lr) for seed, others in _left_out(wide)])


def estimate_gain(narrow: LrCurve, wide: LrCurve) -> Estimate:
    """Return the wide model's loss less the narrow one's, both at the narrow optimum; below 0 the wide one is better.

    Paired by seed; the optimum is chosen on the other seeds, as in :func:`estimate_gap`.
    """
    gains = []
    for seed, others in _left_out(wide):
        carried = fit_optimum(narrow, others).log2_lr
        gains.append(wide.losses_at(carried)[seed] - narrow.losses_at(carried)[seed])
    return mean_of_seeds(gains)


def _gap(wide: LrCurve, seed: int, others: Sequence[int], log2_lr: float) -> float:
    """Return the loss of a seed at a rate over its loss at the optimum of other seeds, less 1."""
    return float(wide.losses_at(log2_lr)[seed] / wide.losses_at(fit_optimum(wide, others).log2_lr)[seed] - 1)


def _left_out(curve: LrCurve) -> Iterator[tuple[int, list[int]]]:
    """Yield each seed and all others; a single seed stands for itself."""
    seeds = range(curve.num_seeds)
    for seed in seeds:
        yield seed, [other for other in seeds if other != seed] or [seed]


def _bootstrap(curves: Sequence[LrCurve], coefficients: Floats) -> Estimate:
    """Return a linear combination of the curves' optima with its interval."""
    num_seeds = curves[0].num_seeds
    value = float(coefficients @ [fit_optimum(curve).log2_lr for curve in curves])
    if num_seeds < 2:
        return Estimate(value)
    resamples, weights = _resamples(num_seeds)
    draws = np.array([[fit_optimum(curve, seeds).log2_lr for curve in curves] for seeds in resamples]) @ coefficients
    variance = float(weights @ (draws - weights @ draws) ** 2) * num_seeds / (num_seeds - 1)
    return Estimate(value, student(num_seeds - 1) * math.sqrt(variance))


def _resamples(num_seeds: int) -> tuple[list[tuple[int, ...]], Floats]:
    """Return all different draws of S out of S seeds and their probabilities, or 2000 random ones of equal weight."""
    if math.comb(2 * num_seeds - 1, num_seeds) > MAX_RESAMPLES:
        drawn = np.random.default_rng(0).integers(num_seeds, size=(MAX_RESAMPLES, num_seeds))
        return [tuple(row) for row in drawn.tolist()], np.full(MAX_RESAMPLES, 1 / MAX_RESAMPLES)
    draws = list(itertools.combinations_with_replacement(range(num_seeds), num_seeds))
    orders = [
        math.factorial(num_seeds) / math.prod(math.factorial(draw.count(seed)) for seed in set(draw)) for draw in draws
    ]
    return draws, np.array(orders) / num_seeds**num_seeds
