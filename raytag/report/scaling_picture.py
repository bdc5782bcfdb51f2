"""The picture of a scaling law: loss against compute with the best use of it, and loss against model size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from raytag.report.scaling_law import Cell, ScalingAnalysis
from raytag.report.scaling_tables import short_count

__all__ = ["draw_scaling"]

LIMIT = "#999999"
MEASURED: dict[str, Any] = {
    "color": "#222222",
    "lw": 1.6,
    "ls": (0, (1, 1.2)),
    "label": "lowest loss at each cost, measured",
}
BY_LAW: dict[str, Any] = {"color": "#222222", "lw": 1.8, "ls": (0, (5, 2)), "label": "lowest loss by the law"}
SHADES = (0.12, 0.9)  # of viridis_r and plasma_r: their pale ends are hard to see
REACH = 3.0  # how much further than the measurements the frontier is drawn, on a logarithmic axis


def draw_scaling(analysis: ScalingAnalysis, path: Path, title: str) -> None:
    """Draw two panels into a PNG file.

    Left, a colour per model size: measured losses against the operations of the training, with the standard error over
    the seeds, and the fitted law as lines. The dotted line joins the lowest losses measured at each cost; the dashed
    one, drawn if the trainings determine it, is the lowest that the law allows. Right, the same losses against the
    size, a colour per number of jets seen. Hollow points saw jets repeatedly, crosses too often to be fitted. The grey
    line is the limit L∞, if that is determined.
    """
    figure = Figure(figsize=(12.6, 5.6), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    sizes = _shades("viridis_r", {cell.num_parameters for cell in analysis.cells})
    amounts = _shades("plasma_r", {cell.num_jets for cell in analysis.cells})
    for size, colour in sizes.items():
        of_size = [cell for cell in analysis.cells if cell.num_parameters == size]
        _draw_cells(left, of_size, colour, lambda cell: cell.train_flops)
        _draw_law_of_size(left, analysis, of_size, colour)
    for amount, colour in amounts.items():
        of_amount = [cell for cell in analysis.cells if cell.num_jets == amount]
        _draw_cells(right, of_amount, colour, lambda cell: cell.num_parameters)
        spread = np.geomspace(min(sizes) / 1.15, max(sizes) * 1.15, 60)
        right.plot(spread, analysis.law.loss(spread, amount), color=colour, lw=1.3, zorder=2)
    _draw_frontier(left, analysis)
    _draw_limit((left, right), analysis)
    _label(left, "operations of the training (FLOP)", "validation loss")
    _label(right, "parameters N", "")
    right.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    right.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_count(value)))
    shapes = {cell.num_parameters: f"{cell.width} × {cell.num_layers}" for cell in analysis.cells}
    _add_legend(left, "parameters (width × layers)", {f"{short_count(n)} ({shapes[n]})": c for n, c in sizes.items()})
    _add_legend(right, "jets seen", {short_count(amount): colour for amount, colour in amounts.items()})
    left.set_title(title, loc="left", fontweight="bold")
    right.set_title(_law_text(analysis), loc="left", fontsize=10.5, linespacing=1.5)
    marks = _marks(analysis)
    figure.legend(handles=marks, loc="outside lower center", ncols=len(marks), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _shades(name: str, values: set[int]) -> dict[int, str]:
    """Return a colour per value, the larger the darker."""
    shades = matplotlib.colormaps[name](np.linspace(*SHADES, len(values)))
    return {value: to_hex(shade) for value, shade in zip(sorted(values), shades, strict=True)}


def _draw_cells(panel: Axes, cells: Sequence[Cell], colour: str, x: Callable[[Cell], float]) -> None:
    for cell in cells:
        error = cell.stderr if cell.stderr > 0 else None
        face = "white" if cell.is_repeated and cell.is_fitted else colour
        marker = "o" if cell.is_fitted else "X"
        panel.errorbar(
            x(cell), cell.loss, error, fmt=marker, ms=6.5, color=colour, mfc=face, mew=1.4, elinewidth=1.2, zorder=4
        )


def _draw_law_of_size(panel: Axes, analysis: ScalingAnalysis, cells: Sequence[Cell], colour: str) -> None:
    """Draw the law along one model size, over its own range of costs."""
    flops_per_jet = np.mean([cell.train_flops / cell.num_jets for cell in cells])
    jets = np.geomspace(min(c.num_jets for c in cells) / 1.25, max(c.num_jets for c in cells) * 1.25, 60)
    panel.plot(flops_per_jet * jets, analysis.law.loss(cells[0].num_parameters, jets), color=colour, lw=1.3, zorder=2)


def _draw_frontier(panel: Axes, analysis: ScalingAnalysis) -> None:
    best = analysis.best_cells
    panel.plot([cell.train_flops for cell in best], [cell.loss for cell in best], **MEASURED, zorder=3)
    if not analysis.knows_frontier:
        return
    measured = [cell.train_flops for cell in analysis.cells]
    costs = np.geomspace(min(measured), REACH * max(measured), 80)
    panel.plot(costs, analysis.law.loss(*analysis.frontier.best(costs)), **BY_LAW, zorder=3)


def _draw_limit(panels: Sequence[Axes], analysis: ScalingAnalysis) -> None:
    """Draw the limit where it is known, without making room for it."""
    lowest = min(cell.loss for cell in analysis.cells)
    if not analysis.intervals["limit"].is_determined or analysis.law.limit < 0.7 * lowest:
        return
    for panel in panels:
        panel.axhline(analysis.law.limit, color=LIMIT, lw=1, zorder=1)
        panel.annotate(
            r"$L_\infty$", (0.01, analysis.law.limit), xycoords=("axes fraction", "data"), color=LIMIT, va="bottom"
        )


def _label(panel: Axes, x: str, y: str) -> None:
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 1.2, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.yaxis.set_minor_formatter(NullFormatter())
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_xlabel(x)
    panel.set_ylabel(y)
    panel.grid(visible=True, which="major", color="#e6e6e6", lw=0.7)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def _add_legend(panel: Axes, title: str, shades: Mapping[str, str]) -> None:
    entries = [Line2D([], [], color=shade, marker="o", label=label) for label, shade in shades.items()]
    legend = panel.legend(
        handles=entries, title=title, frameon=False, fontsize=9, loc="upper right", handlelength=1.2, alignment="left"
    )
    legend.get_title().set_fontsize(9)


def _marks(analysis: ScalingAnalysis) -> list[Line2D]:
    cells, entries = analysis.cells, [Line2D([], [], **MEASURED)]
    if analysis.knows_frontier:
        entries.append(Line2D([], [], **BY_LAW))
    if any(cell.is_repeated for cell in cells):
        entries.append(Line2D([], [], ls="none", marker="o", color="#555555", mfc="white", label="jets repeated"))
    if any(not cell.is_fitted for cell in cells):
        entries.append(Line2D([], [], ls="none", marker="X", color="#555555", label="repeated too often to be fitted"))
    return entries


def _law_text(analysis: ScalingAnalysis) -> str:
    """Return the law's limit and exponents with their intervals, in mathtext."""
    symbols = {"limit": r"L_\infty", "size_exponent": r"\alpha", "data_exponent": r"\beta"}
    parts = []
    for name, symbol in symbols.items():
        each = analysis.intervals[name]
        known = f"${symbol} = {each.value:.2f}$ [{each.low:.2f}, {each.high:.2f}]"
        parts.append(known if each.is_determined else f"${symbol}$ not determined")
    return r"$L = L_\infty + A\,N^{-\alpha} + B\,D^{-\beta}$" + "\n" + "    ".join(parts)
