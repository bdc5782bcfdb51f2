"""From a user's command to a plan. Every mistake is told here, in a second or two, before Ray and torch are loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from raytag.config.experiment import Experiment
from raytag.data.h5 import check_data, select
from raytag.errors import StudyError
from raytag.records import TrialRecord, TrialState, best_trials
from raytag.report.scaling_law import MAX_EPOCHS
from raytag.search.folder import StudyFolder
from raytag.search.study import Study
from raytag.transfer.plan import TransferPlan, plan_transfer
from raytag.transfer.target import Target, horizon_of

__all__ = ["choose_source", "prepare_transfer"]


def prepare_transfer(
    folder: StudyFolder,
    target: Target,
    *,
    trial: str | None = None,
    num_workers: int = 1,
    tracking_uri: str | None = None,
) -> TransferPlan:
    """Plan the transfer of a study's trial, the best one unless named, to another model.

    It is recorded where the study is, unless told otherwise.

    Raises
    ------
    StudyError
        There is no such study or trial, it cannot be widened, or an option does not fit the study's experiment.
    DataError
        A data file is not what it was when the study was made.
    """
    study = Study.load(folder)
    target.check(study.experiment, num_workers)
    source = choose_source(study.records(), trial)
    mlflow = study.experiment.mlflow
    if tracking_uri is not None:
        mlflow = mlflow.model_copy(update={"tracking_uri": tracking_uri})
    experiment = study.experiment.model_copy(update={"mlflow": mlflow})
    plan = plan_transfer(experiment, study.space, source, target)
    if not (checkpoint := folder.checkpoint(plan.narrow)).exists():
        raise StudyError(
            f"{checkpoint}: no such file. The wide model is measured beside {plan.narrow}, which needs it; choose "
            "another trial with --trial."
        )
    check_data(plan.experiment)
    return replace(plan, notes=(*plan.notes, *_notes_on_repetition(plan.experiment)))


def _notes_on_repetition(experiment: Experiment) -> Iterator[str]:
    """Say how often a training sees its jets, which no rule takes into account."""
    num_jets = select(experiment.data, "train", experiment.model.tasks).num_jets
    epochs = horizon_of(experiment).num_samples / num_jets
    if epochs <= 1:
        return
    times = f"{epochs:.3g}" if epochs < 100 else f"{epochs:,.0f}"
    warning = "Warning: " * (epochs > MAX_EPOCHS)
    yield (
        f"{warning}each of the {num_jets:,} training jets is seen {times} times; every rule takes repeated jets for "
        f"new ones, which is nearly true up to {MAX_EPOCHS:g} times (Muennighoff et al., arXiv:2305.16264)"
    )


def choose_source(records: Sequence[TrialRecord], name: str | None) -> TrialRecord:
    """Return the trial of this name, or the completed one with the lowest objective of all widths.

    Raises
    ------
    StudyError
        There is no such trial, or it did not complete.
    """
    complete = best_trials(records)
    if not complete:
        raise StudyError("no trial of the study has completed yet. Let the search go on to its end first.")
    best = complete[0]
    if name is None:
        return best
    found = {record.name: record for record in records}.get(name)
    if found is None:
        raise StudyError(f"{name}: the study has no such trial. Its best one is {best.name}.")
    if found.state is not TrialState.COMPLETE:
        raise StudyError(
            f"{name}: this trial is {found.state}; only a completed one can be widened. The best one is {best.name}."
        )
    return found
