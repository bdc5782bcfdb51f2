"""Models on the same jets, and two of them side by side: a narrow tagger and the wide one made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.table import Table

from raytag.data.schema import Split
from raytag.report.differences import Floats, PairedDifference, paired_difference, with_error

__all__ = ["Comparison", "Measured", "Measurement", "describe_difference", "tabulate_comparison"]

# metric → what a physicist calls it, in the order of the table
_ROWS = {
    "objective": "jet classification loss",
    "loss": "total loss",
    "auc_b_vs_light": "AUC, b against light",
    "auc_b_vs_c": "AUC, b against c",
    "light_rejection_70": "light rejection at 70 % b-efficiency",
    "c_rejection_70": "c rejection at 70 % b-efficiency",
}


@dataclass(frozen=True)
class Measurement:
    """One model on J jets: its metrics, its objective's loss of each jet (J,), and the jets' weights (J,) in it."""

    metrics: Mapping[str, float]
    losses: Floats
    weights: Floats


@dataclass(frozen=True)
class Measured:
    """Models by name, all on the jets of one split."""

    split: Split
    models: Mapping[str, Measurement]

    @property
    def num_jets(self) -> int:
        """The jets that every model was measured on."""
        return len(next(iter(self.models.values())).losses)

    def difference(self, first: str, second: str) -> PairedDifference:
        """Return the second model's objective less the first one's, jet by jet."""
        of_first = self.models[first]
        return paired_difference(of_first.losses, self.models[second].losses, of_first.weights)


@dataclass(frozen=True)
class Comparison:
    """Two models on the jets of one split.

    ``difference`` is the wide model's objective less the narrow one's, and ``difference_stderr`` its standard error
    over the jets, taken jet by jet.
    """

    split: Split
    num_jets: int
    narrow: Mapping[str, float]
    wide: Mapping[str, float]
    difference: float
    difference_stderr: float

    @classmethod
    def of(cls, measured: Measured, narrow: str, wide: str) -> Comparison:
        """Set one of the models that were measured beside another."""
        paired = measured.difference(narrow, wide)
        of_narrow, of_wide = (measured.models[name].metrics for name in (narrow, wide))
        return cls(measured.split, measured.num_jets, of_narrow, of_wide, paired.mean, paired.stderr)

    @property
    def paired(self) -> PairedDifference:
        """The difference and its error in one."""
        return PairedDifference(self.difference, self.difference_stderr)


def tabulate_comparison(comparison: Comparison, titles: tuple[str, str]) -> Table:
    """Return a table of the metrics that both models have, with statistical errors where they are known.

    The errors are those of each figure alone. Both models are measured on the same jets, so their difference is known
    better than the two errors suggest.
    """
    narrow, wide = comparison.narrow, comparison.wide
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for title in titles:
        table.add_column(title, justify="right")
    for metric, name in _ROWS.items():
        if metric in narrow and metric in wide:
            table.add_row(name, _with_error(narrow, metric), _with_error(wide, metric))
    return table


def describe_difference(comparison: Comparison) -> tuple[str, str]:
    """Return the difference of the objectives in one line, and what it says in another."""
    paired = comparison.paired
    if comparison.split == "val":
        verdict = "no verdict: the narrow model was chosen on these jets, which flatters it; data.test gives one"
    elif paired.is_tied:
        verdict = f"tied within the noise ({paired.significance:.1f} standard errors)"
    else:
        better = "wide" if paired.mean < 0 else "narrow"
        verdict = f"the {better} model is better by {paired.significance:.1f} standard errors"
    return f"loss difference on the same jets, wide - narrow: {paired}", verdict


def _with_error(metrics: Mapping[str, float], metric: str) -> str:
    """Return a figure with its error, to the error's second digit."""
    value, error = metrics[metric], metrics.get(f"{metric}_stderr", 0.0)
    return with_error(value, error) if error > 0 else f"{value:.4f}"
