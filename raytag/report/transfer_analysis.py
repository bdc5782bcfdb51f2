"""A transfer study in figures: per width the optimum, the gap and the gain, over widths the drift, and the cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raytag.config.experiment import Parametrisation
from raytag.files import plain
from raytag.records import TrialRecord, TrialState
from raytag.report.intervals import Estimate
from raytag.report.transfer_curves import LrCurve, Optimum, broken_off, curves_of, fit_optimum, lacks_of
from raytag.report.transfer_estimates import bootstrap_optima, estimate_drift, estimate_gain, estimate_gap

__all__ = ["TransferAnalysis", "TransferCost", "WidthResult", "analyse_transfer"]


@dataclass(frozen=True)
class WidthResult:
    """What was found at one width.

    ``log2_lr`` is the optimum's octave with its interval; ``loss`` and ``loss_at_carried`` are those at this and at the
    narrowest width's optimum, on the mean curve. At the narrowest width ``gap`` and ``gain`` are None. ``lacks`` says
    why the optimum is not to be relied on; it has no interval then.
    """

    curve: LrCurve
    optimum: Optimum
    log2_lr: Estimate
    loss: float
    loss_at_carried: float
    gap: Estimate | None
    gain: Estimate | None
    lacks: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Width of the model."""
        return self.curve.width

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "width": self.width,
            "lr": self.optimum.lr,
            "log2_lr": self.log2_lr.to_dict(),
            "fallback": self.optimum.fallback,
            "loss": self.loss,
            "loss_at_carried_lr": plain(self.loss_at_carried),
            "gap": self.gap and self.gap.to_dict(),
            "gain": self.gain and self.gain.to_dict(),
            "curve": {
                "lr": self.curve.lrs.tolist(),
                "losses": [[plain(loss) for loss in row] for row in self.curve.objectives.tolist()],
                "train_flops": self.curve.flops.tolist(),
            },
        }


@dataclass(frozen=True)
class TransferCost:
    """Floating-point operations of tuning narrow and training wide once, and of tuning wide."""

    narrow_sweep: float
    wide_run: float
    wide_sweep: float

    @property
    def share(self) -> float:
        """What muTransfer costs as a share of tuning at the target width; NaN where operations were not counted."""
        return (self.narrow_sweep + self.wide_run) / self.wide_sweep if self.wide_sweep > 0 else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "narrow_sweep_flops": self.narrow_sweep,
            "wide_run_flops": self.wide_run,
            "wide_sweep_flops": self.wide_sweep,
            "share": plain(self.share),
        }


@dataclass(frozen=True)
class TransferAnalysis:
    """One study of learning rates, at one or more widths, the narrowest first.

    ``label`` is what the report calls it. ``drift`` and ``cost`` are None for a single width. ``missing`` says in words
    what the search still lacks.
    """

    label: str
    parametrisation: Parametrisation
    widths: tuple[WidthResult, ...]
    drift: Estimate | None
    cost: TransferCost | None
    missing: tuple[str, ...] = ()

    @property
    def narrowest(self) -> WidthResult:
        """Where the learning rate is tuned."""
        return self.widths[0]

    @property
    def widest(self) -> WidthResult:
        """Where it is wanted."""
        return self.widths[-1]

    @property
    def num_seeds(self) -> int:
        """Seeds of every learning rate."""
        return self.narrowest.curve.num_seeds

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "label": self.label,
            "parametrisation": self.parametrisation,
            "num_seeds": self.num_seeds,
            "drift": self.drift and self.drift.to_dict(),
            "cost": self.cost and self.cost.to_dict(),
            "missing": list(self.missing),
            "widths": [result.to_dict() for result in self.widths],
        }


def analyse_transfer(
    label: str, parametrisation: Parametrisation, widths: Sequence[int], records: Sequence[TrialRecord]
) -> TransferAnalysis | None:
    """Return what a study's trials say so far; None if no trial has completed. ``widths`` are those it is to have."""
    curves = curves_of(records)
    if not curves:
        return None
    results = _results(curves)
    several = len(curves) > 1
    return TransferAnalysis(
        label=label,
        parametrisation=parametrisation,
        widths=results,
        drift=estimate_drift(curves) if several else None,
        cost=TransferCost(curves[0].sweep_flops, curves[-1].run_flops, curves[-1].sweep_flops) if several else None,
        missing=tuple(_missing(widths, records, {result.width: result for result in results})),
    )


def _results(curves: Sequence[LrCurve]) -> tuple[WidthResult, ...]:
    narrow = curves[0]
    optima = [fit_optimum(curve) for curve in curves]
    return tuple(
        WidthResult(
            curve=curve,
            optimum=optimum,
            log2_lr=log2_lr,
            loss=float(curve.losses_at(optimum.log2_lr).mean()),
            loss_at_carried=float(curve.losses_at(optima[0].log2_lr).mean()),
            gap=None if curve is narrow else estimate_gap(narrow, curve),
            gain=None if curve is narrow else estimate_gain(narrow, curve),
            lacks=tuple(lacks_of(curve)),
        )
        for curve, optimum, log2_lr in zip(curves, optima, bootstrap_optima(curves), strict=True)
    )


def _missing(
    widths: Sequence[int], records: Sequence[TrialRecord], results: Mapping[int, WidthResult]
) -> Iterator[str]:
    """Say width by width what stands between the trials and a finished study."""
    for width in widths:
        if num_running := sum(r.width == width and r.state is TrialState.RUNNING for r in records):
            yield f"width {width}: {num_running} trial{'s are' if num_running > 1 else ' is'} still running"
        yield from (f"width {width}: {lack}" for lack in broken_off(r for r in records if r.width == width))
        if width not in results:
            yield f"width {width}: no trial has completed"
        elif not num_running:
            result = results[width]
            yield from (f"width {width}: {lack}" for lack in result.lacks)
            if result.gap and math.isnan(result.gap.value):
                lack = "no trial near the lr that is carried; a wider range of lr in the space would have one"
                yield f"width {width}: {lack}"
