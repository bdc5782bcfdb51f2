"""The picture of a transfer study: above, loss against learning rate; below, how the optimum moves with the width."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from raytag.report.transfer_analysis import TransferAnalysis, WidthResult
from raytag.report.transfer_verdict import MAX_GAP, percent, title_of

__all__ = ["draw_transfer"]

Colours = Mapping[int, str]

GUIDE, FIT, TEXT = "#777777", "#222222", "#444444"
SHADES = (0.2, 0.92)  # of viridis_r: its pale end is hard to see, its dark one to tell from black
REACH = 2.0  # octaves around an optimum whose losses must be in the picture
TALLEST = 4.0  # times the height of the median of these: losses that are all but diverged
STRETCH = 1.6  # how much higher it may become for the loss of the widest model at the carried rate
BESIDE = 0.4  # octaves left of the lowest and right of the highest rate
MARGIN = 0.04  # of the height, above and below
TITLE_SIZE, TITLE_LENGTH = 12.5, 54  # points, and characters that fit into a column


def draw_transfer(studies: Sequence[TransferAnalysis], path: Path) -> None:
    """Draw a column per study into a PNG file.

    Above, a line per width through the means of the seeds, their range as a band, and a diamond on it at the best rate.
    The dashed line is the narrowest width's optimum, the learning rate that is carried; an arrow on it shows what that
    costs the widest model, if it is more than is allowed. Rates that diverged are crosses at the upper edge. Below, on
    the same axis, the best rates with their intervals, a row per width, and the straight line whose slope is the drift,
    with the band of its interval, if all of them are known.
    """
    columns = len(studies)
    layout = ConstrainedLayoutEngine(h_pad=0.06, w_pad=0.1, hspace=0.02, wspace=0.03)
    figure = Figure(figsize=(1.2 + 6.0 * columns, 7.3), layout=layout, dpi=150)
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, columns, sharex=True, sharey="row", squeeze=False, height_ratios=(2.5, 1))
    colours, top = _colours(studies), _set_ranges(panels[0, 0], studies)
    for (above, below), study in zip(panels.T, studies, strict=True):
        _write_title(above, study)
        _draw_curves(above, study, colours, top)
        _draw_gap(above, study, top)
        _draw_optima(below, study, colours)
        for panel in (above, below):
            panel.axvline(study.narrowest.optimum.log2_lr, color=GUIDE, lw=1.2, ls="--", zorder=1)
            panel.spines[["top", "right"]].set_visible(False)
    _label(panels, colours)
    legend = _legend(colours, has_intervals=any(study.num_seeds > 1 for study in studies))
    ncols = len(legend) if columns > 1 else math.ceil(len(legend) / 2)
    figure.legend(handles=legend, loc="outside lower center", ncols=ncols, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _colours(studies: Sequence[TransferAnalysis]) -> Colours:
    """Return a shade per width, the wider the darker."""
    widths = sorted({result.width for study in studies for result in study.widths})
    shades = matplotlib.colormaps["viridis_r"](np.linspace(*SHADES, len(widths)))
    return {width: to_hex(shade) for width, shade in zip(widths, shades, strict=True)}


def _set_ranges(panel: Axes, studies: Sequence[TransferAnalysis]) -> float:
    """Choose the ranges of rates and losses and return the upper edge; what diverged must not squeeze the others."""
    results = [result for study in studies for result in study.widths]
    octaves = np.concatenate([result.curve.log2_lrs for result in results])
    panel.set_xlim(octaves.min() - BESIDE, octaves.max() + BESIDE)
    lowest = min(float(np.nanmin(result.curve.objectives)) for result in results)
    near = [loss for result in results for loss in _near_optimum(result)]
    top = min(max(near), lowest + TALLEST * (float(np.median(near)) - lowest))
    carried = [study.widest.loss_at_carried for study in studies if math.isfinite(study.widest.loss_at_carried)]
    top = max([top, *(loss for loss in carried if loss - lowest < STRETCH * (top - lowest))])
    top += MARGIN * (top - lowest)
    panel.set_ylim(lowest - MARGIN * (top - lowest), top)
    return top


def _near_optimum(result: WidthResult) -> list[float]:
    mean = result.curve.mean
    is_near = np.abs(result.curve.log2_lrs - result.optimum.log2_lr) <= REACH
    near: list[float] = mean[is_near & np.isfinite(mean)].tolist()
    return near


def _write_title(panel: Axes, study: TransferAnalysis) -> None:
    """State the finding in the first line and what it costs in the second."""
    title = title_of(study).replace(" -", " −")
    size = TITLE_SIZE * min(1, TITLE_LENGTH / len(title))
    panel.set_title(f"{title}\n", loc="left", fontsize=size, fontweight="bold")
    if gap := study.widest.gap:
        tuned = f"width {study.widest.width} at the lr tuned at width {study.narrowest.width}"
        above = (
            f"{percent(gap)} above its own best loss".replace("-", "−") if math.isfinite(gap.value) else percent(gap)
        )
        below = panel.text(0, 1.025, f"{tuned}: {above}", transform=panel.transAxes, fontsize=11, color=TEXT)
        below.set_in_layout(False)


def _draw_curves(panel: Axes, study: TransferAnalysis, colours: Colours, top: float) -> None:
    for result in study.widths:
        curve, colour = result.curve, colours[result.width]
        shown = np.isfinite(curve.mean)
        x, losses = curve.log2_lrs[shown], curve.objectives[:, shown]
        panel.fill_between(x, losses.min(axis=0), losses.max(axis=0), color=colour, alpha=0.16, lw=0, zorder=2)
        panel.plot(x, losses.mean(axis=0), color=colour, lw=1.8, marker="o", ms=3.5, zorder=3)
        panel.plot(result.optimum.log2_lr, result.loss, "D", ms=8, color=colour, mec="white", mew=1.2, zorder=5)
    curves = [result.curve for result in study.widths]
    if diverged := sorted({x for curve in curves for x in curve.log2_lrs[np.isinf(curve.mean)].tolist()}):
        panel.plot(diverged, [top] * len(diverged), "x", ms=6, color=GUIDE, clip_on=False, zorder=6)


def _draw_gap(panel: Axes, study: TransferAnalysis, top: float) -> None:
    """Draw an arrow from the widest model's best loss to its loss at the carried rate, or towards it."""
    gap, wide, narrow = study.widest.gap, study.widest, study.narrowest
    if gap is None or math.isnan(gap.value) or gap.value <= MAX_GAP:
        return
    x, end = narrow.optimum.log2_lr, min(wide.loss_at_carried, top)
    panel.plot((wide.optimum.log2_lr, x), (wide.loss, wide.loss), color=FIT, lw=0.9, ls=":", zorder=2)
    arrow = {"arrowstyle": "-|>", "color": FIT, "lw": 1.4, "shrinkA": 0, "shrinkB": 0}
    panel.annotate("", (x, end), (x, wide.loss), arrowprops=arrow, zorder=7)
    text = f"{100 * gap.value:+.0f} %" if math.isfinite(gap.value) else "diverges"
    middle = (wide.loss + min(max(narrow.loss, wide.loss), end)) / 2  # below the narrow curve, if that is the poorer
    panel.text(x + 0.1, middle, text, va="center", fontsize=12, fontweight="bold", color=FIT, zorder=7)


def _draw_optima(panel: Axes, study: TransferAnalysis, colours: Colours) -> None:
    y = np.log2([result.width for result in study.widths])
    x = np.array([result.log2_lr.value for result in study.widths])
    if (drift := study.drift) and not any(result.lacks for result in study.widths):
        distance = y - y.mean()
        if drift.has_interval:
            ends = (x.mean() + drift.low * distance, x.mean() + drift.high * distance)
            panel.fill_betweenx(y, *ends, color=FIT, alpha=0.12, lw=0, zorder=2)
        panel.plot(x.mean() + drift.value * distance, y, color=FIT, lw=1.4, zorder=3)
    for result, octave in zip(study.widths, y, strict=True):
        best, colour = result.log2_lr, colours[result.width]
        error = best.half_width if best.has_interval else None
        panel.errorbar(best.value, octave, xerr=error, fmt="none", ecolor=colour, elinewidth=2, capsize=3.5, zorder=4)
        panel.plot(best.value, octave, "D", ms=7, color=colour, mec="white", mew=1, zorder=5)


def _label(panels: np.ndarray, colours: Colours) -> None:
    octaves = np.log2(list(colours))
    panels[0, 0].set_ylabel("validation loss of the jet classification", fontsize=11)
    panels[1, 0].set_ylabel("width", fontsize=11)
    panels[1, 0].set_yticks(octaves, [str(width) for width in colours])
    panels[1, 0].yaxis.set_minor_locator(NullLocator())
    panels[1, 0].set_ylim(octaves.max() + 0.5, octaves.min() - 0.5)
    for panel in panels[1]:
        panel.set_xlabel("peak learning rate", fontsize=11)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=9))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"$2^{{{value:g}}}$"))


def _legend(colours: Colours, *, has_intervals: bool) -> list[Line2D | Patch]:
    widths = [Line2D([], [], color=colour, lw=2.4, label=f"width {width}") for width, colour in colours.items()]
    bar = " (bar: 95 % interval)" if has_intervals else ""
    return [
        *widths,
        *([Patch(color=GUIDE, alpha=0.25, lw=0, label="range of the seeds")] if has_intervals else []),
        Line2D([], [], ls="", marker="D", ms=7, color=GUIDE, label=f"best lr{bar}"),
        Line2D([], [], color=GUIDE, ls="--", label=f"best lr of width {min(colours)}"),
    ]
