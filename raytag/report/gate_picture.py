"""The picture of the coordinates gate: the size of every module's output against the width, first and of its change."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

__all__ = ["draw_coordinates", "module_group"]

Coordinates = Mapping[str, Any]
Colours = Mapping[str, str]

MOMENTS = {"initial": "size at the start", "change": "change in training"}
ALLOWED, GUIDE, TEXT = "#e6ebe6", "#777777", "#444444"
THIN: dict[str, Any] = {"lw": 1.3, "alpha": 0.75, "zorder": 3}
THICK: dict[str, Any] = {"lw": 2.6, "marker": "o", "ms": 5, "zorder": 4}
NUM_LABELLED = 8  # in a panel
LEAST_RANGE = 1.2  # octaves above and below no change
SPACING = 0.052  # of the height, between labels
BESIDE = 1.07  # of the width, where labels begin
MARGIN = 0.06  # of the range


def draw_coordinates(report: Mapping[str, Any], path: Path) -> None:
    """Draw the picture of a report (its plain values) into a PNG file.

    A line per module, relative to where its fitted line begins, coloured by the part of the model it belongs to. Slopes
    within the limit are shaded; a change may also fall where the output starts at zero, and such a line is dashed.
    Modules that fail are thick and named with their slopes; a line that ends early is a training that broke.
    """
    coordinates = report["coordinates"]
    figure = Figure(figsize=(13.2, 6.2), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    groups = list(dict.fromkeys(module_group(module) for module in coordinates["log2_sizes"]))
    colours = {group: to_hex(matplotlib.colormaps["tab10"](index % 10)) for index, group in enumerate(groups)}
    _set_ranges(panels[0], coordinates)
    for panel, (moment, title) in zip(panels, MOMENTS.items(), strict=True):
        panel.set_title(title, loc="left", fontsize=12)
        panel.set_xlabel("width", fontsize=11)
        panel.spines[["top", "right"]].set_visible(False)
        _shade(panel, coordinates)
        _draw_modules(panel, coordinates, moment, colours)
        _name_faults(panel, coordinates, moment, colours)
    figure.legend(handles=_legend(coordinates, colours), loc="outside lower center", ncols=5, frameon=False)
    figure.suptitle(_title(report), x=0.01, ha="left", fontsize=14, fontweight="bold")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def module_group(module: str) -> str:
    """Return the part of the model a module belongs to; repeated layers share one for each kind of their parts."""
    first, *_ = module.split(".")
    inside = re.search(r"\.\d+\.([a-z]+)", module)
    return f"{first}: {inside[1]}" if inside else first


def _curves(coordinates: Coordinates, moment: str) -> dict[str, np.ndarray]:
    """Return log2 of each module's sizes, above that of its fitted line at the narrowest width."""
    known = {module: sizes[moment] for module, sizes in coordinates["log2_sizes"].items() if moment in sizes}
    curves = {module: np.asarray(octaves, dtype=float) for module, octaves in known.items()}
    return {module: curve - _start(curve, coordinates) for module, curve in curves.items()}


def _start(curve: np.ndarray, coordinates: Coordinates) -> float:
    """Return where the gate's straight line begins; it weighs widths by width times seeds."""
    known = np.isfinite(curve)
    if known.sum() < 2:
        return float(curve[known][0]) if known.any() else 0.0
    widths = np.asarray(coordinates["widths"])
    weights = np.sqrt(widths * np.asarray(coordinates["seeds"]))  # polyfit squares them
    line = np.polyfit(np.log2(widths[known]), curve[known], 1, w=weights[known])
    return float(np.polyval(line, np.log2(widths[0])))


def _faults(coordinates: Coordinates, moment: str) -> dict[str, float]:
    """Return the slopes of the modules that fail, worst first, as in the report."""
    ending = f" ({moment})"
    return {name.removesuffix(ending): slope for name, slope in coordinates["faults"] if name.endswith(ending)}


def _set_ranges(panel: Axes, coordinates: Coordinates) -> None:
    widths = coordinates["widths"]
    curves = [curve for moment in MOMENTS for curve in _curves(coordinates, moment).values()]
    values = np.concatenate([curve[np.isfinite(curve)] for curve in curves])
    low, high = min(-LEAST_RANGE, *values), max(LEAST_RANGE, *values)
    margin = MARGIN * (high - low)
    panel.set_ylim(low - margin, high + margin)
    panel.set_ylabel(f"relative to width {min(widths)} (fitted)", fontsize=11)
    panel.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    panel.yaxis.set_major_formatter(FuncFormatter(_multiple))
    panel.set_xticks(np.log2(widths), [str(width) for width in widths])
    panel.xaxis.set_minor_locator(NullLocator())


def _multiple(octave: float, _position: int | None) -> str:
    return f"× {2**octave:g}" if octave >= 0 else f"÷ {2**-octave:g}"


def _shade(panel: Axes, coordinates: Coordinates) -> None:
    octaves = np.log2(coordinates["widths"])
    most = coordinates["limit"] * (octaves - octaves[0])
    panel.fill_between(octaves, -most, most, color=ALLOWED, lw=0, zorder=0)
    panel.axhline(0, color=GUIDE, lw=1, ls=":", zorder=1)


def _draw_modules(panel: Axes, coordinates: Coordinates, moment: str, colours: Colours) -> None:
    octaves, faults = np.log2(coordinates["widths"]), _faults(coordinates, moment)
    for module, curve in _curves(coordinates, moment).items():
        known = np.isfinite(curve)
        dashes = "-" if "initial" in coordinates["log2_sizes"][module] else "--"
        style = THICK if module in faults else THIN
        panel.plot(octaves[known], curve[known], ls=dashes, color=colours[module_group(module)], **style)


def _name_faults(panel: Axes, coordinates: Coordinates, moment: str, colours: Colours) -> None:
    """Write the worst modules' names and slopes to the right of their lines' ends, one above the other."""
    slopes, curves = _faults(coordinates, moment), _curves(coordinates, moment)
    low, high = panel.get_ylim()
    ends = {module: _end(curves[module], coordinates["widths"]) for module in list(slopes)[:NUM_LABELLED]}
    heights = _apart({module: (octave - low) / (high - low) for module, (_, octave) in ends.items()})
    for module, height in heights.items():
        slope, colour = slopes[module], colours[module_group(module)]
        panel.annotate(
            f"{module}  {f'{slope:+.2f}'.replace('-', '−') if math.isfinite(slope) else 'breaks'}",
            ends[module],
            (BESIDE, height),
            textcoords=panel.transAxes,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.8, "relpos": (0, 0.5), "shrinkA": 2, "shrinkB": 4},
            annotation_clip=False,
            va="center",
            fontsize=9.5,
            color=colour,
        )
    if more := len(slopes) - len(heights):
        below = min(heights.values()) - SPACING
        panel.text(BESIDE, below, f"and {more} more", transform=panel.transAxes, va="center", fontsize=9.5, color=TEXT)


def _end(curve: np.ndarray, widths: Sequence[int]) -> tuple[float, float]:
    """Return the last point of a line; the beginning of the axis for one that is known nowhere."""
    known = np.flatnonzero(np.isfinite(curve))
    return (math.log2(widths[known[-1]]), float(curve[known[-1]])) if known.size else (math.log2(widths[0]), 0.0)


def _apart(heights: Mapping[str, float]) -> dict[str, float]:
    """Move labels away from each other, from the top down, and all of them up if they end below the axis."""
    placed: dict[str, float] = {}
    last = math.inf
    for name, height in sorted(heights.items(), key=lambda item: -item[1]):
        last = placed[name] = min(height, last - SPACING, 0.98)
    lift = max(0.0, SPACING - last)
    return {name: height + lift for name, height in placed.items()}


def _legend(coordinates: Coordinates, colours: Colours) -> list[Line2D | Patch]:
    modules = [Line2D([], [], color=colour, lw=2.4, label=group) for group, colour in colours.items()]
    return [
        *modules,
        Line2D([], [], color=GUIDE, ls="--", label="starts at zero: may fade"),
        Patch(color=ALLOWED, label=f"allowed: slopes to {coordinates['limit']:g}"),
    ]


def _title(report: Mapping[str, Any]) -> str:
    coordinates = report["coordinates"]
    name = "muP" if report["parametrisation"] == "mup" else "Standard parametrisation"
    failing = {fault.rsplit(" ", 1)[0] for fault, _ in coordinates["faults"]}
    num_modules = len(coordinates["log2_sizes"])
    found = (
        f"{len(failing)} of {num_modules} modules do not keep their size as the width grows"
        if failing
        else f"all {num_modules} modules start and move alike at every width"
    )
    return f"{name}: {found} ({report['optimizer']}, {coordinates['num_steps']} steps)"
