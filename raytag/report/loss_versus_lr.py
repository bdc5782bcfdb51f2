"""The picture of muTransfer: the objective of every trial against its learning rate, one panel per width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from raytag.records import TrialRecord, TrialState, best_trials

__all__ = ["draw_loss_versus_lr"]

COMPLETE, PRUNED, BEST, GUIDE = "#2f6690", "#8aa9c0", "#c8553d", "#b9b9b9"
MAX_COLUMNS = 4
HEADROOM = 0.15  # above the worst completed trial, as a share of the shown range


def draw_loss_versus_lr(records: Sequence[TrialRecord], path: Path, title: str) -> None:
    """Draw the picture into a PNG file.

    The learning rate is the peak rate at the base width, in powers of two, so that with muP the optima of all widths
    stand above each other: the best one of each width is a red line in its own panel and a grey one in the others.
    Pruned trials are hollow and show the loss at which they were stopped. The band is the best trial's standard error.
    Where a trial has several members, each is a short line above or below it.
    Trials far above the completed ones are arrows at the top edge, failed ones crosses.
    """
    widths = sorted({record.width for record in records})
    columns = min(len(widths), MAX_COLUMNS)
    rows = math.ceil(len(widths) / columns)
    figure = Figure(figsize=(1.2 + 3.4 * columns, 0.9 + 3.1 * rows), layout="constrained", dpi=160)
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    top = _top(records)
    for panel, width in zip(panels.flat, widths, strict=False):
        _draw_panel(panel, records, width, top)
    for panel in list(panels.flat)[len(widths) :]:
        panel.set_visible(False)
    for panel in panels[:, 0]:
        panel.set_ylabel("validation objective")
    panels[0, 0].set_ylim(top=top)
    _label_axes(panels, widths)
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    figure.legend(handles=_legend(records), loc="outside lower center", ncols=2 * min(columns, 2), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _draw_panel(panel: Axes, records: Sequence[TrialRecord], width: int, top: float) -> None:
    own = [record for record in records if record.width == width]
    for other in sorted({record.width for record in records} - {width}):
        for best in best_trials(records, other)[:1]:
            panel.axvline(math.log2(best.lr), color=GUIDE, lw=1, ls=":", zorder=0)
    _scatter(panel, [r for r in own if r.state is TrialState.PRUNED], top, facecolors="none", edgecolors=PRUNED)
    complete = [r for r in own if r.state is TrialState.COMPLETE]
    _scatter(panel, complete, top, facecolors=COMPLETE, edgecolors="white")
    _draw_members([r for r in complete if r.num_members > 1 and r.objective <= top], panel)
    failed = [math.log2(record.lr) for record in own if record.state is TrialState.FAILED]
    panel.scatter(failed, [top] * len(failed), marker="x", s=32, color="#555555", linewidths=1.2, clip_on=False)
    for best in best_trials(own, width)[:1]:
        _mark_best(panel, best)
    panel.set_title(f"width {width}", loc="left", fontsize=10)
    panel.spines[["top", "right"]].set_visible(False)


def _scatter(panel: Axes, records: Sequence[TrialRecord], top: float, **colors: Any) -> None:
    """Draw trials as points, and those above the shown range as arrows at its edge."""
    for marker, size, shown in (
        ("o", 34, [r for r in records if r.objective <= top]),
        ("^", 30, [r for r in records if r.objective > top]),
    ):
        x = [math.log2(record.lr) for record in shown]
        y = [min(record.objective, top) for record in shown]
        panel.scatter(x, y, marker=marker, s=size, linewidths=0.9, clip_on=False, zorder=3, **colors)


def _draw_members(records: Sequence[TrialRecord], panel: Axes) -> None:
    """Draw the objective of each member as a short line, in the column of its trial."""
    x = [math.log2(record.lr) for record in records for _ in range(record.num_members)]
    y = [value for record in records for row in record.objectives for value in row]
    panel.scatter(x, y, marker="_", s=40, color=COMPLETE, alpha=0.55, linewidths=1, zorder=2)


def _mark_best(panel: Axes, best: TrialRecord) -> None:
    x, y = math.log2(best.lr), best.objective
    stderr = 0.0 if math.isnan(best.objective_stderr) else best.objective_stderr
    panel.axvline(x, color=BEST, lw=1, alpha=0.7, zorder=1)
    panel.axhspan(y - stderr, y + stderr, color=BEST, alpha=0.12, lw=0, zorder=0)
    panel.errorbar(x, y, stderr, fmt="*", ms=13, color=BEST, mec="white", mew=0.8, capsize=3, zorder=5)
    text = f"{y:.4f} ± {stderr:.4f} at lr {best.lr:.2g}"
    panel.set_title(text, loc="right", fontsize=9, color=BEST)


def _top(records: Sequence[TrialRecord]) -> float:
    """Return the upper edge of the shown range: diverged trials must not squeeze the others into a line."""
    complete = [
        value
        for record in records
        if record.state is TrialState.COMPLETE
        for replica in record.objectives
        for value in replica
    ]
    reached = [record.objective for record in records if math.isfinite(record.objective)]
    shown = np.array(complete or reached or [1.0])
    low, middle = shown.min(), np.median(shown)
    worst = min(shown.max(), middle + 3 * (middle - low)) if middle > low else shown.max()
    return float(worst + HEADROOM * max(worst - low, 0.01 * abs(low)))


def _label_axes(panels: np.ndarray, widths: Sequence[int]) -> None:
    for panel in panels.flat:
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"$2^{{{value:g}}}$"))
        panel.tick_params(labelsize=9)
    for index in range(len(widths)):
        panel = panels.flat[index]
        if index + panels.shape[1] >= len(widths):  # nothing below it
            panel.set_xlabel("peak learning rate")
            panel.tick_params(labelbottom=True)


def _legend(records: Sequence[TrialRecord]) -> list[Line2D]:
    def entry(label: str, marker: str, **style: Any) -> Line2D:
        return Line2D([], [], ls="none", marker=marker, label=label, **style)

    states = {record.state for record in records}
    entries = [
        entry("complete", "o", color=COMPLETE),
        entry("best, with its standard error", "*", color=BEST, ms=11),
    ]
    if any(record.num_members > 1 for record in records):
        entries.append(entry("a member", "_", color=COMPLETE, alpha=0.55))
    if TrialState.PRUNED in states:
        entries.append(entry("pruned", "o", mfc="none", mec=PRUNED))
    if TrialState.FAILED in states:
        entries.append(entry("failed", "x", color="#555555"))
    return entries
