"""The figures of a scaling law: tables for the terminal, sentences, a page of Markdown, and plain values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

from raytag.files import plain
from raytag.report.intervals import CONFIDENCE
from raytag.report.scaling_law import MAX_EPOCHS, Cell, ScalingAnalysis

__all__ = ["ANCHORS", "describe_scaling", "scaling_dict", "scaling_markdown", "short_count", "tabulate_scaling"]

REPEATED = "*"
NUM_ROWS = 4  # of the compute-optimal table, over the measured range of compute
ANCHORS = (
    "For comparison, not as a test: β is 0.21 to 0.26 for jets of JetClass, each seen once (Vigl et al., "
    "arXiv:2602.15781); multi-task jet transformers in a parametrisation based on muP are in arXiv:2610.06784."
)

_QUANTITIES = {
    "limit": "L∞",
    "size_factor": "A",
    "size_exponent": "α, of size",
    "data_factor": "B",
    "data_exponent": "β, of data",
    "size_power": "best N ∝ C^",
    "data_power": "best D ∝ C^",
}

EXPONENTS = ("size_exponent", "data_exponent")

Rows = list[tuple[str, ...]]


def tabulate_scaling(analysis: ScalingAnalysis) -> Group:
    """Return the losses by size and data, the law with its intervals, and the best use of compute."""
    titles = ("loss", "the law", "lowest loss at each cost, as measured", "lowest loss at each cost, by the law")
    titled = zip(titles, _tables(analysis), strict=True)
    parts = [part for title, rows in titled if rows[1:] for part in (Text(title, style="bold"), _rich(rows), Text())]
    return Group(*parts)


def describe_scaling(analysis: ScalingAnalysis) -> list[str]:
    """Return what the tables cannot say: how good the fit is, what it leaves open, what is repeated or missing."""
    return [*_fit(analysis), *_compute(analysis), *_repetition(analysis.cells), *_missing(analysis), ANCHORS]


def scaling_markdown(analysis: ScalingAnalysis, title: str, picture: str) -> str:
    """Return picture, tables and sentences as a page of Markdown."""
    lines = [f"# {title}", "", f"![Loss against compute and against model size, with the fitted law]({picture})", ""]
    for head, *rows in _tables(analysis):
        if rows:
            lines += [f"| {' | '.join(row)} |" for row in (head, ("---:",) * len(head), *rows)] + [""]
    lines += [line for sentence in describe_scaling(analysis) for line in (sentence, "")]
    return "\n".join(lines)


def scaling_dict(analysis: ScalingAnalysis) -> dict[str, Any]:
    """Return all figures as plain values for JSON."""
    return {
        "law": "limit + size_factor / N^size_exponent + data_factor / D^data_exponent",
        "confidence": CONFIDENCE,
        "parameters": {
            name: {key: plain(value) if key != "is_determined" else value for key, value in asdict(interval).items()}
            for name, interval in analysis.intervals.items()
        },
        "flops": asdict(analysis.cost) | {"law": "factor * N^exponent * D"},
        "cells": [
            asdict(cell)
            | {
                "loss": plain(cell.loss),
                "stderr": plain(cell.stderr),
                "fitted_loss": float(analysis.law.loss(cell.num_parameters, cell.num_jets)),
                "is_repeated": cell.is_repeated,
                "is_fitted": cell.is_fitted,
            }
            for cell in analysis.cells
        ],
        "missing": list(analysis.missing),
    }


def short_count(number: float) -> str:
    """Return a number to three digits with its thousands as a letter: 57.6k, 1.24M."""
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * unit:
            return f"{number / unit:.3g}{letter}"
    return f"{number:.3g}"


def _tables(analysis: ScalingAnalysis) -> tuple[Rows, Rows, Rows, Rows]:
    return _losses(analysis.cells), _law(analysis), _best_cells(analysis.best_cells), _optima(analysis)


def _losses(cells: Sequence[Cell]) -> Rows:
    """Return the losses: a row per model, a column per number of jets seen; several trainings may share a place."""
    amounts = sorted({cell.num_jets for cell in cells})
    models = sorted({(cell.num_parameters, cell.width, cell.num_layers) for cell in cells})
    rows: Rows = [("width", "layers", "parameters", *(f"{short_count(jets)} jets" for jets in amounts))]
    for model in models:
        of_model = [cell for cell in cells if (cell.num_parameters, cell.width, cell.num_layers) == model]
        losses = (" / ".join(_loss(cell) for cell in of_model if cell.num_jets == jets) for jets in amounts)
        rows.append((str(model[1]), str(model[2]), f"{model[0]:,}", *losses))
    return rows


def _loss(cell: Cell) -> str:
    """Return a loss with its error on the last digits in brackets: 0.9356(99)."""
    repeated = REPEATED if cell.is_repeated else ""
    if not cell.stderr > 0:
        return f"{cell.loss:.4f}{repeated}"
    rounded = float(f"{cell.stderr:.1e}")
    decimals = max(2, 1 - math.floor(math.log10(rounded)))
    return f"{cell.loss:.{decimals}f}({rounded * 10**decimals:.0f}){repeated}"


def _law(analysis: ScalingAnalysis) -> Rows:
    rows: Rows = [("", "value", f"{CONFIDENCE:.0%} interval", "")]
    for name, title in _QUANTITIES.items():
        interval = analysis.intervals[name]
        # A and B go with their exponents: an interval of theirs says little by itself
        verdict = "" if interval.is_determined or name.endswith("factor") else "not determined"
        rows.append((title, f"{interval.value:.3g}", f"{interval.low:.3g} to {interval.high:.3g}", verdict))
    return rows


def _best_cells(cells: Sequence[Cell]) -> Rows:
    rows: Rows = [("TFLOP", "width", "layers", "jets", "loss")]
    for cell in cells:
        jets = short_count(cell.num_jets)
        rows.append((f"{cell.train_flops / 1e12:.2g}", str(cell.width), str(cell.num_layers), jets, _loss(cell)))
    return rows


def _optima(analysis: ScalingAnalysis) -> Rows:
    """Return the best size and data at some costs; nothing where the trainings do not tell."""
    rows: Rows = [("TFLOP", "parameters", "jets", "loss")]
    if not analysis.knows_frontier:
        return rows
    measured = [cell.train_flops for cell in analysis.cells]
    costs = np.geomspace(min(measured), max(measured), NUM_ROWS)
    sizes, data = analysis.frontier.best(costs)
    losses = analysis.law.loss(sizes, data)
    for cost, size, jets, loss in zip(costs, sizes, data, losses, strict=True):
        rows.append((f"{cost / 1e12:.2g}", short_count(size), short_count(jets), f"{loss:.3f}"))
    return rows


def _fit(analysis: ScalingAnalysis) -> Iterator[str]:
    law, rms = analysis.law, float(np.sqrt(np.mean(analysis.deviations**2)))
    scatter = f"; the seeds' errors, in brackets, are {analysis.scatter:.1%}" if analysis.scatter else ""
    yield (
        f"L = {law.limit:.3g} + {law.size_factor:.3g} / N^{law.size_exponent:.2f} + "
        f"{law.data_factor:.3g} / D^{law.data_exponent:.2f} describes {len(analysis.deviations)} points to {rms:.1%}"
        f"{scatter}. N counts all parameters, D the jets seen."
    )
    if unknown := [_QUANTITIES[name] for name in EXPONENTS if not analysis.intervals[name].is_determined]:
        yield (
            f"Not determined: {'; '.join(unknown)}. The interval is wider than the value, or the fit does without the "
            "term: more sizes, longer trainings or more seeds would tell."
        )


def _compute(analysis: ScalingAnalysis) -> Iterator[str]:
    yield f"A training takes {analysis.cost.factor:.2g} N^{analysis.cost.exponent:.2f} operations per jet, as measured."
    if analysis.knows_frontier:
        size, data = (10 ** getattr(analysis.frontier, name) for name in ("size_power", "data_power"))
        yield f"Ten times the compute is best spent on a model {size:.1f} times as large and {data:.1f} times the jets."
    else:
        yield "How compute is best divided between size and data is not determined by these trainings."


def _repetition(cells: Sequence[Cell]) -> Iterator[str]:
    if any(cell.epochs is None for cell in cells):
        yield "How often a jet was seen is not known: the training file is not where the study read it."
    if most := max((cell.epochs for cell in cells if cell.epochs is not None and cell.is_repeated), default=0):
        yield f"{REPEATED} jets seen repeatedly, up to {most:.1f} times; a repeated jet teaches less than a new one."
    if num := sum(not cell.is_fitted for cell in cells):
        yield (
            f"{num} points saw their jets more than {MAX_EPOCHS:g} times; the law, which knows no repetition, is "
            "fitted without them (Muennighoff et al., arXiv:2305.16264)."
        )


def _missing(analysis: ScalingAnalysis) -> Iterator[str]:
    if analysis.missing:
        others = f"; and {num - 3} more" if (num := len(analysis.missing)) > 3 else ""
        yield f"Missing: {'; '.join(analysis.missing[:3])}{others}."


def _rich(rows: Rows) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in rows[0]:
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows[1:]:
        table.add_row(*row)
    return table
