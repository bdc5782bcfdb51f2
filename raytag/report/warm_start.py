"""A warm-started wide model beside all it is fairly compared with, and what its gain is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from raytag.data.schema import Split
from raytag.report.comparison import Measured
from raytag.report.differences import PairedDifference, with_error

__all__ = [
    "CONTINUED",
    "DIFFERENCES",
    "NARROW",
    "SCRATCH",
    "WARM",
    "WarmComparison",
    "describe_warm_start",
    "tabulate_warm_start",
]

NARROW, CONTINUED = "narrow", "narrow, continued"
SCRATCH, WARM = "wide, from scratch", "wide, warm-started"

# Pairs whose losses are subtracted, the first from the second: what continuation gives, what the width adds to it,
# both together, and what the warm start is worth at this width.
DIFFERENCES = ((NARROW, CONTINUED), (CONTINUED, WARM), (NARROW, WARM), (SCRATCH, WARM))

# metric → column
_COLUMNS = {"objective": "loss", "auc_b_vs_light": "AUC b/light", "light_rejection_70": "light rejection"}


@dataclass(frozen=True)
class WarmComparison:
    """Models on the jets of one split: metrics by model, and differences of the loss, jet by jet, by two models.

    The wide model from scratch is missing if nobody has trained it.
    """

    split: Split
    num_jets: int
    models: Mapping[str, Mapping[str, float]]
    differences: Mapping[tuple[str, str], PairedDifference]

    @classmethod
    def of(cls, measured: Measured) -> WarmComparison:
        """Compare the models that were measured, which have the names of this module."""
        metrics = {name: model.metrics for name, model in measured.models.items()}
        pairs = [(first, second) for first, second in DIFFERENCES if first in metrics]
        differences = {pair: measured.difference(*pair) for pair in pairs}
        return cls(measured.split, measured.num_jets, metrics, differences)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        differences = [
            {"first": first, "second": second, "mean": difference.mean, "stderr": difference.stderr}
            for (first, second), difference in self.differences.items()
        ]
        models = {name: dict(metrics) for name, metrics in self.models.items()}
        return {"split": self.split, "num_jets": self.num_jets, "models": models, "differences": differences}

    @classmethod
    def from_dict(cls, written: Mapping[str, Any]) -> WarmComparison:
        """Read what :meth:`to_dict` wrote."""
        differences = {
            (entry["first"], entry["second"]): PairedDifference(entry["mean"], entry["stderr"])
            for entry in written["differences"]
        }
        return cls(written["split"], written["num_jets"], written["models"], differences)


def tabulate_warm_start(comparison: WarmComparison) -> Table:
    """Return a row per model; errors are those of each figure alone."""
    columns = {metric: title for metric, title in _COLUMNS.items() if metric in comparison.models[WARM]}
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    for title in columns.values():
        table.add_column(title, justify="right", no_wrap=True)
    for name, metrics in comparison.models.items():
        table.add_row(name, *(_figure(metrics, metric) for metric in columns))
    return table


def describe_warm_start(comparison: WarmComparison) -> list[str]:
    """Return the differences on the same jets, and which part of the gain is continuation and which is width."""
    width = max(len(_pair(*pair)) for pair in comparison.differences)
    lines = ["loss differences on the same jets:"]
    for pair, difference in comparison.differences.items():
        lines.append(f"  {_pair(*pair):<{width}}  {difference}")
    if SCRATCH in comparison.models:
        lines.append("From scratch, the wide model saw fewer jets: those of its own steps alone, while")
        lines.append("the warm-started one has learned from those of the narrow model's steps too.")
    lines += _shares(*(comparison.differences[pair] for pair in DIFFERENCES[:3]))
    lines.append("The errors are over the jets; another seed moves a model too (docs/noise.md).")
    if comparison.split == "val":
        lines.append("The narrow model was chosen on these jets, which flatters it; data.test would not.")
    return lines


def _pair(first: str, second: str) -> str:
    return f"{second} - {first}"


def _shares(continuation: PairedDifference, width: PairedDifference, total: PairedDifference) -> list[str]:
    """Say how the gain divides; lower losses are better."""
    if total.mean >= 0 or total.is_tied:
        return ["The warm-started model gains nothing over the narrow one beyond the noise."]
    gain = f"Of the gain of {-total.mean:.4f} over the narrow model"
    if width.mean >= 0 or width.is_tied:
        return [f"{gain}, none beyond the noise is the width's:", "trained on, the narrow model gains as much."]
    if continuation.mean >= 0 or continuation.is_tied:
        return [f"{gain}, all is the width's:", "trained on, the narrow model gains nothing beyond the noise."]
    share = continuation.mean / total.mean
    return [
        f"{gain}, {share:.0%} is continuation",
        f"(the narrow model, trained on, has it too) and {1 - share:.0%} is width.",
    ]


def _figure(metrics: Mapping[str, float], metric: str) -> str:
    value, error = metrics[metric], metrics.get(f"{metric}_stderr", 0.0)
    return with_error(value, error) if error > 0 else f"{value:.4f}"
