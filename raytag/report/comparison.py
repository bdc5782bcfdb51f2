"""Two models side by side: the metrics of a narrow tagger and of the wide one made from it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rich.table import Table

__all__ = ["tabulate_comparison"]

# metric → what a physicist calls it, in the order of the table
_ROWS = {
    "objective": "jet classification loss",
    "loss": "total loss",
    "auc_b_vs_light": "AUC, b against light",
    "auc_b_vs_c": "AUC, b against c",
    "light_rejection_70": "light rejection at 70 % b-efficiency",
    "c_rejection_70": "c rejection at 70 % b-efficiency",
}


def tabulate_comparison(narrow: Mapping[str, float], wide: Mapping[str, float], titles: tuple[str, str]) -> Table:
    """Return a table of the metrics that both models have, with statistical errors where they are known.

    The errors are those of each figure alone. Both models are measured on the same jets, so their difference is known
    better than the two errors suggest.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for title in titles:
        table.add_column(title, justify="right")
    for metric, name in _ROWS.items():
        if metric in narrow and metric in wide:
            table.add_row(name, _with_error(narrow, metric), _with_error(wide, metric))
    return table


def _with_error(metrics: Mapping[str, float], metric: str) -> str:
    """Return a figure with its error, to the error's second digit."""
    value, error = metrics[metric], metrics.get(f"{metric}_stderr", 0.0)
    if not error > 0:
        return f"{value:.4f}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{digits}f} ± {error:.{digits}f}"
