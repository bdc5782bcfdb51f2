"""The picture of a file of jets: the distributions that tell its flavours apart, one line per flavour."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import AutoMinorLocator, MaxNLocator
from numpy.typing import NDArray

from raytag.data.h5 import Contents
from raytag.data.schema import JET_LABEL, ORIGIN_LABEL, VALID, Origin
from raytag.data.summary import inspect_labelled, read_jets
from raytag.errors import RaytagError

__all__ = ["draw_jets"]

# Enough for smooth histograms.
MAX_JETS = 200_000
# A class with fewer makes no histogram.
MIN_JETS = 100
NUM_COLUMNS = 4
GEV_PER_MEV = 1e-3
LXY = "HadronConeExclTruthLabelLxy"
D0_SIGNIFICANCE = "IP3D_signed_d0_significance"
Z0_SIGNIFICANCE = "IP3D_signed_z0_significance"

# Paul Tol's bright colours, told apart by all eyes; ATLAS names of the classes.
FLAVOUR_STYLE = {
    "bjets": ("b jets", "#4477AA"),
    "cjets": ("c jets", "#EE6677"),
    "ujets": ("light jets", "#228833"),
    "taujets": ("τ jets", "#AA3377"),
}
OTHER_COLOURS = ("#CCBB44", "#66CCEE", "#777777", "#222222")
ORIGIN_STYLE = {
    Origin.PRIMARY: ("primary", "#D9DEE4"),
    Origin.FROM_B: ("from b", "#4477AA"),
    Origin.FROM_BC: ("b → c", "#88AACC"),
    Origin.FROM_C: ("from c", "#EE6677"),
    Origin.FROM_TAU: ("from τ", "#AA3377"),
    Origin.OTHER_SECONDARY: ("other secondary", "#E8C872"),
    Origin.PILEUP: ("pile-up", "#8F979F"),
    Origin.FAKE: ("fake", "#3B4046"),
}


@dataclass(frozen=True)
class _Sample:
    """The jets drawn: J jets and their T valid tracks, sorted by jet."""

    contents: Contents
    jets: NDArray[np.void]  # (J,)
    tracks: NDArray[np.void]  # (T,)
    num_tracks: NDArray[np.int64]  # (J,)

    @property
    def jet_flavours(self) -> NDArray[np.int64]:
        """Class of each jet (J,)."""
        return self.jets[JET_LABEL].astype(np.int64)

    @property
    def track_flavours(self) -> NDArray[np.int64]:
        """Class of each track's jet (T,)."""
        return np.repeat(self.jet_flavours, self.num_tracks)


@dataclass(frozen=True)
class _Distribution:
    """Values (N,) of jets or tracks with their flavours (N,), and the edges of their histogram."""

    label: str
    values: NDArray[Any]
    flavours: NDArray[np.int64]
    edges: NDArray[np.float64]
    is_log: bool = False
    of: str = "jets"


def draw_jets(path: Path, picture: Path) -> None:
    """Draw the first 200,000 jets of a GN2 file into a PNG file; a variable the file lacks leaves no panel.

    Raises
    ------
    DataError
        If the file is damaged or not a labelled GN2 file.
    RaytagError
        If the picture cannot be written.
    """
    sample = _read(inspect_labelled(path))
    distributions = list(_distributions(sample))
    num_panels = len(distributions) + (ORIGIN_LABEL in sample.contents.track_variables)
    rows = math.ceil(num_panels / NUM_COLUMNS)
    figure = Figure(
        figsize=(4.1 * NUM_COLUMNS, 3.45 * rows + 0.9),
        layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.1, wspace=0.03, hspace=0.05),
        dpi=130,
    )
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, NUM_COLUMNS, squeeze=False).flatten()
    names = sample.contents.class_names
    for panel, distribution in zip(panels, distributions, strict=False):
        _draw_distribution(panel, distribution, names)
    if num_panels > len(distributions):
        _draw_origins(panels[num_panels - 1], sample)
    for panel in panels[num_panels:]:
        panel.axis("off")
    _title(figure, sample)
    try:
        figure.savefig(picture, format="png")
    except OSError as error:
        raise RaytagError(f"{picture}: cannot be written ({error.strerror}). Name another file with -o.") from error


def _read(contents: Contents) -> _Sample:
    jets, tracks, num_tracks = [], [], []
    for block, slots in read_jets(contents, MAX_JETS):
        valid = slots[VALID].astype(bool)
        jets.append(block)
        tracks.append(slots[valid])
        num_tracks.append(valid.sum(axis=1))
    return _Sample(contents, np.concatenate(jets), np.concatenate(tracks), np.concatenate(num_tracks))


def _distributions(sample: _Sample) -> Iterator[_Distribution]:
    jets, tracks, num_bins = sample.jets, sample.tracks, _num_bins(sample)
    of_jet, of_track = sample.jet_flavours, sample.track_flavours
    jet_variables, track_variables = sample.contents.jet_variables, sample.contents.track_variables
    if "pt" in jet_variables:
        pt = jets["pt"] * GEV_PER_MEV
        edges = np.linspace(0, _high(pt, 0.995), num_bins + 1)
        yield _Distribution("jet $p_T$ [GeV]", pt, of_jet, edges, is_log=True)
    if "eta" in jet_variables:
        yield _Distribution("jet η", jets["eta"], of_jet, np.linspace(-2.5, 2.5, num_bins + 1))
    most = max(int(np.quantile(sample.num_tracks, 0.999)), 1)
    yield _Distribution("tracks per jet", sample.num_tracks, of_jet, np.arange(-0.5, most + 1))
    if LXY in jet_variables and np.any(jets[LXY] > 0):
        label = "flight length $L_{xy}$ of the hadron or τ [mm]"
        edges = np.linspace(0, _high(jets[LXY], 0.98), num_bins + 1)
        yield _Distribution(label, jets[LXY], of_jet, edges, is_log=True)
    for variable, symbol, low, high in ((D0_SIGNIFICANCE, "d_0", -15, 35), (Z0_SIGNIFICANCE, "z_0", -25, 25)):
        if variable in track_variables:
            label = f"signed ${symbol}$ significance"
            # Bins of 1 to 2.5, so that the core keeps its shape.
            edges = np.linspace(low, high, max(num_bins, 16) // 4 * 5 + 1)
            yield _Distribution(label, tracks[variable], of_track, edges, is_log=True, of="tracks")
    if D0_SIGNIFICANCE in track_variables:
        jet_of_track = np.repeat(np.arange(len(jets)), sample.num_tracks)
        displaced = np.bincount(jet_of_track[tracks[D0_SIGNIFICANCE] > 3], minlength=len(jets))
        label = "tracks per jet with signed $d_0$ significance > 3"
        yield _Distribution(label, displaced, of_jet, np.arange(-0.5, 10), is_log=True)


def _num_bins(sample: _Sample) -> int:
    """Return 12 to 40 bins, so that the smallest class drawn still makes a histogram."""
    counts = _count(sample.jet_flavours, len(sample.contents.class_names))
    smallest = min((count for count in counts.tolist() if count >= MIN_JETS), default=0)
    return int(np.clip(math.sqrt(smallest), 12, 40))


def _high(values: NDArray[np.floating[Any]], quantile: float) -> float:
    """Return a round upper end that leaves out the longest tail."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 1.0
    high = float(np.quantile(finite, quantile))
    step = 10.0 ** math.floor(math.log10(high)) / 2 if high > 0 else 1.0
    return math.ceil(high / step) * step if high > 0 else 1.0


def _style(index: int, name: str) -> tuple[str, str]:
    """Return the words and the colour of a class."""
    return FLAVOUR_STYLE.get(name, (name, OTHER_COLOURS[index % len(OTHER_COLOURS)]))


def _count(flavours: NDArray[np.int64], num_classes: int) -> NDArray[np.int64]:
    """Return how many labels name each class; labels of no class are left alone."""
    return np.array([np.count_nonzero(flavours == flavour) for flavour in range(num_classes)])


def _draw_distribution(axes: Axes, distribution: _Distribution, class_names: Sequence[str]) -> None:
    """Draw the normalised histogram of each flavour with the band of its statistical error."""
    edges, values = distribution.edges, distribution.values.astype(np.float64)
    centres = (edges[1:] + edges[:-1]) / 2
    for index, name in enumerate(class_names):
        of_class = values[(distribution.flavours == index) & np.isfinite(values)]
        counts, _ = np.histogram(of_class, edges)
        if len(of_class) < MIN_JETS:
            continue
        share = counts / len(of_class)
        error = np.sqrt(counts) / len(of_class)
        words, colour = _style(index, name)
        shown = np.where(counts > 0, share, np.nan) if distribution.is_log else share
        axes.stairs(shown, edges, color=colour, linewidth=1.6, label=words)
        axes.bar(centres, 2 * error, np.diff(edges), share - error, color=colour, alpha=0.18, linewidth=0)
    if distribution.is_log:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, 2e-5), high * 1.6)
    else:
        axes.set_ylim(0, axes.get_ylim()[1] * 1.12)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel(distribution.label)
    axes.set_ylabel(f"share of {distribution.of} per bin")
    _dress(axes, is_continuous=not np.issubdtype(distribution.values.dtype, np.integer))


def _draw_origins(axes: Axes, sample: _Sample) -> None:
    """Draw the mean number of tracks of each truth origin in a jet of each flavour, stacked."""
    names = sample.contents.class_names
    rows = np.arange(len(names))[::-1]
    left = np.zeros(len(names))
    num_jets = np.maximum(_count(sample.jet_flavours, len(names)), 1)
    for origin, (words, colour) in ORIGIN_STYLE.items():
        of_origin = sample.track_flavours[sample.tracks[ORIGIN_LABEL] == origin]
        mean = _count(of_origin, len(names)) / num_jets
        axes.barh(rows, mean, 0.62, left, color=colour, edgecolor="white", linewidth=0.6, label=words)
        left += mean
    axes.set_yticks(rows, [_style(index, name)[0] for index, name in enumerate(names)])
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("tracks per jet, by truth origin")
    axes.set_ylim(-0.6, len(names) + 0.75)
    axes.legend(loc="upper center", ncols=3, fontsize=9, frameon=False, handlelength=1, columnspacing=1.2)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _dress(axes: Axes, *, is_continuous: bool) -> None:
    """Put ticks inside on all sides, as the field does."""
    axes.tick_params(which="both", direction="in", top=True, right=True)
    axes.xaxis.set_major_locator(MaxNLocator(7, steps=(1, 2, 5, 10), integer=not is_continuous))
    if is_continuous:
        axes.xaxis.set_minor_locator(AutoMinorLocator())
    axes.tick_params(which="major", length=5)
    axes.tick_params(which="minor", length=2.5)


def _title(figure: Figure, sample: _Sample) -> None:
    """Name the file above the panels and the flavours with their numbers beside it."""
    contents = sample.contents
    counts = _count(sample.jet_flavours, len(contents.class_names))
    shown = (
        f"the first {len(sample.jets):,} of {contents.num_jets:,}"
        if len(sample.jets) < contents.num_jets
        else f"{contents.num_jets:,}"
    )
    figure.suptitle(f"{contents.path.name}: {shown} jets", x=0.012, ha="left", fontsize=14, fontweight="bold")
    handles = []
    for index, name in enumerate(contents.class_names):
        words, colour = _style(index, name)
        handles.append(Line2D([], [], color=colour, linewidth=2.4, label=f"{words} ({counts[index]:,})"))
    figure.legend(handles=handles, loc="upper right", ncols=len(handles), frameon=False, fontsize=11, handlelength=1.4)
