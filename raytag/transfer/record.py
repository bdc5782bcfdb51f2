"""The wide run in MLflow: nested in its study, linked to the trial it was widened from."""

from __future__ import annotations

import math

from raytag.logbook import Logbook, default_tracking_uri
from raytag.search.folder import StudyFolder
from raytag.transfer.run import TransferOutcome

__all__ = ["record_transfer"]


def record_transfer(outcome: TransferOutcome, study: StudyFolder) -> str:
    """Write a finished transfer to MLflow and return the tracking URI; writing it again adds nothing.

    Raises
    ------
    LogbookError
        MLflow refused or did not answer.
    """
    plan, folder = outcome.plan, outcome.folder
    settings = plan.experiment.mlflow
    uri = settings.tracking_uri or default_tracking_uri()
    logbook = Logbook(uri, settings.experiment)
    identity = study.identity()
    parent = logbook.open_run(identity, study.path.name, {"raytag.kind": "study"})
    source = logbook.nested_runs(parent).get(f"{identity}/{plan.source.name}")
    tags = {
        "raytag.kind": "wide",
        "raytag.study": study.path.name,
        "raytag.source_trial": plan.source.name,
        "raytag.source_run_id": source.run_id if source else "",
        "width": str(plan.width),
    }
    run = logbook.open_run(f"{identity}/{plan.trial.name}", plan.trial.name, tags, parent)
    values = {entry.name: entry.value for entry in plan.carried if entry.value is not None}
    numbers = {f"hp.{name}": value for name, value in values.items()}
    run.describe(values, {**numbers, "hp.log2_lr": math.log2(values["lr"]), "hp.width": plan.width})
    run.follow(folder.read_progress().history)
    run.summarise(
        {
            **{f"{outcome.split}/{name}": value for name, value in outcome.wide.items()},
            **{f"{outcome.split}/narrow_{name}": value for name, value in outcome.narrow.items()},
        }
    )
    files = (folder.experiment, folder.plan, folder.gates, folder.result)
    run.attach(file for file in files if file.exists())
    run.set_status("FINISHED")
    return uri
