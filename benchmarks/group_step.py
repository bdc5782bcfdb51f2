"""The benchmark of a training step: the ordinary padded model against groups of R trials. About 15 minutes on a CPU.

    python -m benchmarks.group_step [--quick | --full] [--device cuda] [--minutes 10] [--write]

On a CPU every batch size is measured at width 32 and every width at batches of 128 jets; ``--full``, and a GPU, measure
all cells, with 32 rows too. docs/performance.md says what is compared; ``--write`` puts the figures there.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from rich.console import Console

from benchmarks.bounds import Rates, Work, count_work, measure_rates
from benchmarks.group_cell import PADDED, Figures, Way, build_step, measure_cell, stopwatch
from benchmarks.jets import repeat_jets
from benchmarks.page import machine, write_block
from raytag.config.experiment import Experiment
from raytag.config.load import load_experiment

__all__ = ["Cell", "CellFigures", "describe", "main"]

ROOT = Path(__file__).parents[1]
EXPERIMENT = ROOT / "benchmarks" / "sweep.yaml"
COMMAND = "python -m benchmarks.group_step --write"

WIDTHS, BATCH_SIZES, ROWS = (16, 32, 64, 128, 256), (128, 512, 1000, 4000), (1, 8, 32)
NUM_JETS = 2 * max(BATCH_SIZES)
NUM_ROUNDS, NUM_ROUNDS_QUICK = 9, 3
NUM_STEPS = 1000  # of the schedule; no way takes as many
GPU_MATRIX = 8192  # rows of the product that measures a GPU's arithmetic
MIB = 2**20


@dataclass(frozen=True)
class Cell:
    """A width and the jets of a batch."""

    width: int
    batch_size: int


CPU_CELLS = [*(Cell(32, size) for size in BATCH_SIZES), *(Cell(width, 128) for width in WIDTHS if width != 32)]
ALL_CELLS = [*(Cell(*pair) for pair in product(WIDTHS, BATCH_SIZES)), Cell(32, 256)]
# A compiler takes minutes on a CPU: there it is asked for the smallest models only.
COMPILED_ON_CPU = (Cell(16, 128), Cell(32, 128))


@dataclass(frozen=True)
class CellFigures:
    """What was measured in a cell; ``work`` is that of one row in the loop."""

    figures: Mapping[Way, Figures]
    work: Work


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.group_step", description=__doc__)
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--quick", action="store_true", help="one cell, nothing compiled")
    extent.add_argument("--full", action="store_true", help="all cells and rows on a CPU too")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--minutes", type=float, default=10, help="for the timed rounds of all cells (default: 10)")
    parser.add_argument("--write", action="store_true", help="write the figures into docs/performance.md")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU here")
    torch.set_num_threads(1)
    device, is_full = torch.device(options.device), options.full or options.device == "cuda"
    cells = CPU_CELLS[:1] if options.quick else ALL_CELLS if is_full else CPU_CELLS
    rounds = NUM_ROUNDS_QUICK if options.quick else NUM_ROUNDS
    patience = 60 * options.minutes / len(cells)
    console, figures = Console(highlight=False, soft_wrap=True), {}
    for cell in cells:
        compiles = not options.quick and (is_full or cell in COMPILED_ON_CPU)
        ways = _ways(ROWS if is_full else ROWS[:2], compiles=compiles)
        figures[cell] = _measure(cell, ways, device, rounds, patience)
        console.print(f"width {cell.width}, {cell.batch_size} jets: done")
    text = describe(device, measure_rates(device, partial(stopwatch, device=device), size=_matrix(device)), figures)
    console.print(f"\n{text}", markup=False)
    if options.write:
        write_block(COMMAND, text)


def _ways(rows: Sequence[int], *, compiles: bool) -> list[Way]:
    """Return the padded model and every kind of group; a single row needs no vmap."""
    groups = [Way("loop", rows=number) for number in rows]
    groups += [Way("vmap", rows=number) for number in rows if number > 1]
    most = rows[1:] if compiles else ()
    groups += [Way(executor, is_compiled=True, rows=number) for executor in ("loop", "vmap") for number in most]
    return [PADDED, *groups]


def _measure(cell: Cell, ways: Sequence[Way], device: torch.device, rounds: int, patience: float) -> CellFigures:
    with TemporaryDirectory(prefix="raytag-benchmark-") as name:
        folder = Path(name)
        experiment = _open_experiment(cell, folder)
        figures = measure_cell(experiment, ways, device, folder, num_rounds=rounds, patience=patience)
        return CellFigures(figures, count_work(build_step(Way("loop"), experiment, device, folder)))


def _open_experiment(cell: Cell, folder: Path) -> Experiment:
    """Return the sweep's GN2 at this width, on the fixture's jets over and over."""
    experiment = load_experiment(
        EXPERIMENT,
        [
            f"training.batch_size={cell.batch_size}",
            f"training.num_steps={NUM_STEPS}",
            f"mup.base_width={min(WIDTHS)}",
            f"search.widths=[{cell.width}]",
            "search.trials_per_width=1",
        ],
    )
    return experiment.model_copy(update={"data": repeat_jets(experiment.data, NUM_JETS, folder)})


def _matrix(device: torch.device) -> int:
    return GPU_MATRIX if device.type == "cuda" else 1024


def describe(device: torch.device, rates: Rates, figures: Mapping[Cell, CellFigures]) -> str:
    """Return the figures as Markdown."""
    parts = [_setting(device, figures), _ratios(figures), _speeds(figures), _peaks(figures), _bounds(rates, figures)]
    return "\n\n".join([*parts, *_problems(figures)])


def _setting(device: torch.device, figures: Mapping[Cell, CellFigures]) -> str:
    rounds = [len(one.seconds) for cell in figures.values() for one in cell.figures.values() if one.seconds]
    place = f", {torch.cuda.get_device_name()}" if device.type == "cuda" else ", one thread"
    clock = "wall" if device.type == "cuda" else "CPU"
    return (
        f"{machine(('torch',))}\nFloat32{place}, {clock} time; 4 layers, three tasks, jets of 7.3 tracks in a file of "
        f"40 slots. {min(rounds)} to {max(rounds)} rounds, in which all ways take a step in turn."
    )


def _ratios(figures: Mapping[Cell, CellFigures]) -> str:
    def ratio(cell: CellFigures, way: Way) -> str:
        padded = cell.figures[PADDED].seconds
        ratios = [one / other for one, other in zip(padded, cell.figures[way].seconds, strict=False)]
        return f"**{median(ratios):.1f}** ({min(ratios):.1f} to {max(ratios):.1f})"

    return _table("times as many trial-steps per second as the padded model", _groups(figures), figures, ratio)


def _speeds(figures: Mapping[Cell, CellFigures]) -> str:
    def speed(cell: CellFigures, way: Way) -> str:
        return f"{1 / median(cell.figures[way].seconds):.3g}"

    return _table("trial-steps per second", ["padded", *_groups(figures)], figures, speed)


def _peaks(figures: Mapping[Cell, CellFigures]) -> str:
    def peak(cell: CellFigures, way: Way) -> str:
        return f"{cell.figures[way].peak_bytes / MIB:.0f}"

    names = ["padded", *_groups(figures)]
    return _table("MiB that a step takes at its peak, above what is there before it", names, figures, peak)


def _groups(figures: Mapping[Cell, CellFigures]) -> list[str]:
    """Return the names of the ways but the padded one, in their order."""
    return list(dict.fromkeys(way.name for cell in figures.values() for way in cell.figures if way != PADDED))


def _table(
    title: str,
    names: Sequence[str],
    figures: Mapping[Cell, CellFigures],
    entry: Callable[[CellFigures, Way], str],
) -> str:
    """Return a row for each width, batch size and number of rows, with a column for each way."""

    def cells(at: CellFigures, rows: int) -> Iterable[str]:
        by_name = {way.name: way for way in at.figures if way.rows == rows or way == PADDED}
        for name in names:
            yield entry(at, by_name[name]) if name in by_name and at.figures[by_name[name]].seconds else ""

    lines = [
        f"| {cell.width} | {cell.batch_size} | {rows} | {' | '.join(cells(at, rows))} |"
        for cell, at in figures.items()
        for rows in sorted({way.rows for way in at.figures})
    ]
    heads = " | ".join(["width", "jets", "R", *names])
    return "\n".join([f"{title}:", "", f"| {heads} |", f"|{'---|' * (3 + len(names))}", *lines])


def _bounds(rates: Rates, figures: Mapping[Cell, CellFigures]) -> str:
    def row(cell: Cell, at: CellFigures) -> str:
        seconds = at.work.seconds(rates)
        measured = median(at.figures[Way("loop")].seconds)
        times = " | ".join(f"{1e3 * time:.2f}" for time in seconds.values())
        return (
            f"| {cell.width} | {cell.batch_size} | {at.work.launches} | {at.work.bytes / MIB:.0f} | "
            f"{at.work.flops / 1e9:.2f} | {times} | {1e3 * measured:.2f} | {at.work.bound(rates)} |"
        )

    return "\n".join(
        [
            "What one row of the loop consists of, and how long each part would take alone at the "
            f"{rates.launches:.2g} operations, {rates.bytes / 1e9:.0f} GB and {rates.flops / 1e9:.0f} GFLOP per second "
            "that were measured here:",
            "",
            "| width | jets | operations | MiB | GFLOP | launch ms | memory ms | arithmetic ms | step ms | longest |",
            f"|{'---|' * 10}",
            *(row(cell, at) for cell, at in figures.items()),
        ]
    )


def _problems(figures: Mapping[Cell, CellFigures]) -> list[str]:
    """Return a line for each reason why a way has no figures."""
    problems = {
        f"No figures of {way.name}: {one.problem}."
        for at in figures.values()
        for way, one in at.figures.items()
        if one.problem
    }
    return sorted(problems)


if __name__ == "__main__":
    main()
