"""Curves of loss against learning rate with a known optimum and noise, and the trials that would make them."""

import math

import numpy as np
from trial_records import make_record

from raytag.records import OBJECTIVE, TRAIN_FLOPS, TrialState
from raytag.report.transfer_curves import LrCurve

GRID = (-9.0, -8.0, -7.0, -6.0, -5.0, -4.0)  # octaves of lr
WIDTHS = (32, 64, 128, 256)


def make_curve(width, optimum, *, noise=0.0, seeds=3, rng=None, lowest=0.9, curvature=0.02, flops=None):
    """Return S seeds of a parabola (curvature in loss per square octave), at the rates that a search would try.

    The seeds differ by .01 at all rates alike, which is what pairing takes out, and by ``noise`` at each rate.
    """
    rng = rng or np.random.default_rng(0)
    offsets = rng.normal(0, 0.01, seeds)
    tried, wanted = {}, set(GRID)
    while wanted:
        for octave in sorted(wanted):
            loss = lowest + curvature * (octave - optimum) ** 2
            tried[octave] = loss + offsets + noise * rng.normal(size=seeds)
        best = min(tried, key=lambda octave: tried[octave].mean())
        wanted = {best + apart for apart in (-1, -0.5, 0.5, 1)} - tried.keys()
    octaves = np.array(sorted(tried))
    objectives = np.stack([tried[octave] for octave in octaves], axis=1)
    return LrCurve(width, 2.0**octaves, objectives, np.full(len(octaves), flops or 1e9 * seeds * width**2))


def make_curves(drift, *, widths=WIDTHS, start=-6.0, gain=0.02, **settings):
    """Return a curve per width; per doubling the optimum moves by ``drift`` octaves and the loss falls by ``gain``."""
    doublings = [math.log2(width / widths[0]) for width in widths]
    return [
        make_curve(width, start + drift * doubling, lowest=0.9 - gain * doubling, **settings)
        for width, doubling in zip(widths, doublings, strict=True)
    ]


def curve_of(objectives, *, first=-9, step=1.0, width=32):
    """A curve from its losses alone, on octaves from 2^first upwards."""
    losses = np.atleast_2d(np.array(objectives, dtype=float))
    lrs = 2.0 ** (first + step * np.arange(losses.shape[1]))
    return LrCurve(width, lrs, losses, np.ones(len(lrs)))


def records_of(curves):
    """Return the trials of the curves; those with an infinite objective have failed, those with NaN were pruned."""
    return [
        record
        for curve in curves
        for number in range(len(curve.lrs))
        for record in [
            make_trial(
                curve.width, number, curve.lrs[number], curve.objectives[:, number], flops=float(curve.flops[number])
            )
        ]
    ]


def make_trial(width, number, lr, objectives, *, flops=1.0, state=None):
    """Return a trial of a replica per objective; one that failed with finite objectives broke off."""
    mean = float(np.mean(objectives))
    if state is None:
        state = (
            TrialState.FAILED if math.isinf(mean) else TrialState.PRUNED if math.isnan(mean) else TrialState.COMPLETE
        )
    reported = {OBJECTIVE: mean if math.isfinite(mean) else 0.5, TRAIN_FLOPS: flops}
    members = tuple({OBJECTIVE: float(value)} for value in objectives)
    return make_record(
        width,
        number,
        state=state,
        searched={"lr": float(lr)},
        history={} if state is TrialState.RUNNING else {100: reported},
        has_diverged=state is TrialState.FAILED and math.isinf(mean),
        members={100: members} if state is TrialState.COMPLETE and len(members) > 1 else {},
    )
