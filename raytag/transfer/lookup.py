"""From a run in MLflow back to what it stands for in a study on disk."""

from __future__ import annotations

from pathlib import Path

from raytag.errors import StudyError
from raytag.logbook import KEY, find_run
from raytag.search.folder import StudyFolder
from raytag.transfer.folder import TRANSFER, WideFolder
from raytag.transfer.source import Source

__all__ = ["source_of_run"]


def source_of_run(run_id: str, tracking_uri: str) -> Source:
    """Return what an MLflow run stands for: a study, a trial, or a wide run with the trial that it was widened from.

    Raises
    ------
    RaytagError
        MLflow does not answer, or knows no such run.
    StudyError
        The run is no trial, wide run or study of raytag, or its folder is gone or holds another one.
    """
    run = find_run(tracking_uri, run_id)
    told = f"{run_id} ({run.name})"
    kind = run.tags.get("raytag.kind")
    if kind not in ("study", "trial", "wide", "continued"):
        what = f"raytag's, but of kind {kind}" if kind else "not raytag's"
        raise StudyError(f"{told}: this run is {what}; expected the run of a trial, of a study or of a wide model.")
    parent = run if kind == "study" else find_run(tracking_uri, run.tags["mlflow.parentRunId"])
    identity, *names = run.tags[KEY].split("/")  # unlike the run's name, nobody changes it on MLflow's page
    study = _study_at(parent.tags.get("raytag.folder"), identity, told)
    if kind == "study":
        return Source(study)
    if kind == "trial":
        return Source(study, names[0])
    trial = run.tags["raytag.source_trial"]
    return Source(study, trial, _wide_run(study, trial, names[-1], told))


def _study_at(place: str | None, identity: str, told: str) -> StudyFolder:
    """Return the folder that the run of a study names, if it still holds that study."""
    if place is None:
        raise StudyError(f"{told}: it does not say where its study lies. Give the study's folder instead.")
    folder = StudyFolder(Path(place))
    if not folder.space.exists():
        raise StudyError(f"{told}: its study is gone from {place}. If it lies elsewhere, give its folder instead.")
    if folder.identity() != identity:
        raise StudyError(
            f"{told}: in {place} lies another study of this name by now; the run's own was moved aside. Give its "
            f"folder instead, as in {place}.<date>."
        )
    return folder


def _wide_run(study: StudyFolder, trial: str, identity: str, told: str) -> WideFolder:
    """Return the wide run of this identity, or the narrow one continued, wherever in its study it was moved."""
    for file in (study.path / TRANSFER).glob("**/identity"):
        if file.read_text() == identity:
            return WideFolder(file.parent)
    raise StudyError(
        f"{told}: its folder is gone from {study.path / TRANSFER}. Its source trial is {study.path.name}:{trial}."
    )
