"""Trials as sheets of comma-separated values, for MLflow's artifacts and for whoever wants to go on from there."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Iterable, Sequence

from raytag.records import TrialRecord, TrialState, are_tied, best_trials, spread

__all__ = ["sheet_of_members", "sheet_of_trials"]


def sheet_of_members(record: TrialRecord) -> str:
    """Return a trial's last objectives: a row per replica, a column per fold, and the means of both."""
    num_folds = record.num_folds
    rows: list[list[object]] = [["replica", *(f"fold {fold}" for fold in range(num_folds)), "mean"]]
    rows += [[replica, *row, statistics.fmean(row)] for replica, row in enumerate(record.objectives)]
    rows.append(["mean", *record.fold_means, statistics.fmean(record.fold_means)])
    return _sheet(rows)


def sheet_of_trials(records: Sequence[TrialRecord]) -> str:
    """Return all trials width by width, the completed ones first and best first.

    Columns: what the trial reached and how (``tied`` says whether it is tied with the best of its width), the spread of
    its members, each member's objective, the searched values (those of the last generation, in a population). What a
    trial does not have is empty.
    """
    ranked = sorted(records, key=_place)
    members = max((record.member_labels for record in records), key=len, default=())
    searched = list(dict.fromkeys(name for record in records for name in record.searched))
    head = ["trial", "width", "state", "step", "objective", "objective_stderr", "tied", "seed_spread", "fold_spread"]
    best = {width: best_trials(records, width)[:1] for width in {record.width for record in records}}
    rows: list[list[object]] = [[*head, *(members if len(members) > 1 else ()), *searched]]
    for record in ranked:
        rows.append([*_outcome(record, best[record.width]), *_members(record, len(members))])
        rows[-1] += [getattr(record.hyperparameters, name) if name in record.searched else None for name in searched]
    return _sheet(rows)


def _place(record: TrialRecord) -> tuple[int, bool, float, int]:
    is_ranked = record.state is TrialState.COMPLETE
    return record.width, not is_ranked, record.objective if is_ranked else 0.0, record.number


def _outcome(record: TrialRecord, best: Sequence[TrialRecord]) -> list[object]:
    """Return the columns about the trial as a whole."""
    scatter = spread(record)
    is_rival = record.state is TrialState.COMPLETE and record is not best[0]
    tied = ("yes" if are_tied(best[0], record) else "no") if is_rival else None
    reached = (record.last_step, record.objective, record.objective_stderr)
    return [record.name, record.width, record.state, *reached, tied, scatter.seeds, scatter.folds]


def _members(record: TrialRecord, num_columns: int) -> list[object]:
    """Return a column per member; there are none where every trial is one training."""
    if num_columns < 2:
        return []
    objectives = [value for row in record.objectives for value in row] if record.history else []
    return [*objectives, *[None] * (num_columns - len(objectives))]


def _sheet(rows: Iterable[Iterable[object]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([_cell(value) for value in row] for row in rows)
    return file.getvalue()


def _cell(value: object) -> object:
    """Return a value as it is written: numbers with six digits, nothing for what is missing."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return value
