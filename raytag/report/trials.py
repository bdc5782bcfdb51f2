"""The best trials of a study as tables for the terminal, with what the noise leaves undecided."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from raytag.records import TrialRecord, are_tied, best_trials
from raytag.report.differences import with_error

__all__ = ["format_objective", "tabulate_best", "tabulate_ranking"]

TIED = "≈"


def tabulate_ranking(records: Sequence[TrialRecord], num_per_width: int = 3) -> Table:
    """Return the best completed trials of each width with their objectives and learning rates.

    Trials that the validation jets cannot tell from the best one of their width carry the mark ``≈``.
    """
    table = Table(box=None, pad_edge=False, header_style="bold", caption_justify="left")
    table.add_column("trial", no_wrap=True)
    table.add_column("objective", no_wrap=True)
    table.add_column("")
    table.add_column("lr", justify="right")
    for width in _widths(records):
        ranked = best_trials(records, width)[:num_per_width]
        for record in ranked:
            tie = TIED if record is not ranked[0] and are_tied(ranked[0], record) else ""
            style = "bold" if record is ranked[0] else "dim"
            table.add_row(record.name, format_objective(record), tie, f"{record.lr:.3g}", style=style)
    table.caption = f"{TIED} tied with the best of its width, within the combined standard error"
    return table


def tabulate_best(records: Sequence[TrialRecord]) -> Table:
    """Return the searched values of each width's best completed trial, a row per hyperparameter."""
    best = [ranked[0] for width in _widths(records) if (ranked := best_trials(records, width))]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("best values", no_wrap=True)
    for record in best:
        table.add_column(f"width {record.width}", justify="right")
    for name in dict.fromkeys(name for record in best for name in record.searched):
        table.add_row(name, *(f"{record.searched[name]:.3g}" for record in best))
    return table


def format_objective(record: TrialRecord) -> str:
    """Return an objective with its standard error, to the error's second digit."""
    if not record.objective_stderr > 0:
        return f"{record.objective:.5g}"
    return with_error(record.objective, record.objective_stderr)


def _widths(records: Sequence[TrialRecord]) -> list[int]:
    return sorted({record.width for record in records})
