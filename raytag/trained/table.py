"""An ensemble beside its trials, as a table for the terminal and in words."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from raytag.report.differences import with_error
from raytag.trained.ensemble import Ensemble

__all__ = ["describe_ensemble", "tabulate_ensemble"]

# metric → column
_COLUMNS = {
    "objective": "loss",
    "auc_b_vs_light": "AUC b/light",
    "light_rejection_70": "light rejection",
    "c_rejection_70": "c rejection",
}


def tabulate_ensemble(ensemble: Ensemble) -> Table:
    """Return a row per trial, best by the search first, and the ensemble's below them.

    Errors are those of each figure alone; all models see the same jets, so their differences are known better.
    """
    columns = {metric: title for metric, title in _COLUMNS.items() if metric in ensemble.metrics}
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    for title in columns.values():
        table.add_column(title, justify="right", no_wrap=True)
    for trial in ensemble.trials:
        table.add_row(trial.record.name, *(_figure(trial.metrics, metric) for metric in columns))
    if ensemble.num_models > 1:
        table.add_row(
            f"average of {ensemble.num_models}",
            *(_figure(ensemble.metrics, metric) for metric in columns),
            style="bold",
        )
    return table


def describe_ensemble(ensemble: Ensemble) -> list[str]:
    """Return what was measured on which jets, and whether the average is better than the best trial."""
    num_jets, split = len(ensemble.probabilities), ensemble.plan.split
    best, members = ensemble.trials[0], ensemble.trials[0].num_members
    lines = [f"On {num_jets:,} {'test' if split == 'test' else 'validation'} jets; rejections at 70 % b-efficiency."]
    if members > 1:
        lines.append(f"A trial's figures are the mean over its {members} trainings; the average is over all of them.")
    if split == "val":
        lines.append("The trials were chosen on these jets, so their figures look better than they are.")
    if ensemble.num_models > 1:
        lines.append(f"loss, average - {best.record.name}, jet by jet: {ensemble.difference}")
        lines.append(_verdict(ensemble))
    return lines


def _verdict(ensemble: Ensemble) -> str:
    difference, best = ensemble.difference, ensemble.trials[0].record.name
    if ensemble.plan.split == "val":
        return f"no verdict: {best} was chosen on these jets, which flatters it; data.test gives one"
    errors = f"{difference.significance:.1f} standard errors"
    if difference.is_tied:
        return f"the average is tied with {best} within the noise ({errors})"
    return f"the average is {'better' if difference.mean < 0 else 'worse'} than {best} by {errors}"


def _figure(metrics: Mapping[str, float], metric: str) -> str:
    value, error = metrics[metric], metrics.get(f"{metric}_stderr", 0.0)
    return with_error(value, error) if error > 0 else f"{value:.4f}"
