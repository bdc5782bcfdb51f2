"""The transfer plan as the terminal shows it: what the wide model gets, why, and from which papers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from rich.markup import escape
from rich.table import Table

from raytag.transfer.plan import Carried, TransferPlan

__all__ = ["plan_footnotes", "tabulate_plan"]


def tabulate_plan(plan: TransferPlan) -> Table:
    """Return a row for every setting that is searched or changes; numbers in brackets refer to the footnotes."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", "study", "wide", "transfer", "why"):
        table.add_column(title, justify="right" if title in ("study", "wide") else "left")
    numbers = {paper: number for number, paper in enumerate(_papers(plan), start=1)}
    for entry in _shown(plan):
        references = ",".join(str(numbers[paper]) for paper in entry.papers)
        why = f"{entry.reason} [{references}]" if references else entry.reason
        table.add_row(entry.name, _number(entry.old), _number(entry.value), entry.transfer, escape(why))
    return table


def plan_footnotes(plan: TransferPlan) -> Iterator[str]:
    """Yield the papers by their numbers, the values that were not searched, and what no rule covers."""
    for number, paper in enumerate(_papers(plan), start=1):
        yield f"[{number}] {paper}"
    if kept := [f"{entry.name}={_number(entry.value)}" for entry in plan.carried if entry.transfer == "fixed"]:
        yield f"Not searched, so the experiment's own values: {', '.join(kept)}"
    yield from plan.notes


def _shown(plan: TransferPlan) -> list[Carried]:
    return [*plan.settings, *(entry for entry in plan.carried if entry.transfer != "fixed")]


def _papers(plan: TransferPlan) -> Iterable[str]:
    return dict.fromkeys(paper for entry in _shown(plan) for paper in entry.papers)


def _number(value: float | None) -> str:
    """Return four digits of a value, or three of what it lacks to 1."""
    if value is None:
        return "none"
    if isinstance(value, int):
        return f"{value:,}"
    if 0.9 < value < 1:
        return f"{round(value, 2 - math.floor(math.log10(1 - value))):.15g}"
    return f"{value:.4g}"
