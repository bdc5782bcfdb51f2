"""A transfer from beginning to end: choose the trial, plan, check muP, train wide, compare, record."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from raytag.config.load import load_experiment
from raytag.data.schema import Split
from raytag.errors import CheckError, StudyError
from raytag.records import OBJECTIVE, TrialRecord, TrialState, best_trials
from raytag.search.folder import StudyFolder, exclusive
from raytag.search.session import cluster_size, ray_session
from raytag.search.study import Study
from raytag.search.watching import repeating
from raytag.transfer.folder import WideFolder, read_json, write_atomically
from raytag.transfer.plan import TransferPlan, plan_transfer
from raytag.transfer.train import WideJob, check_mup, evaluate_checkpoint, train_wide

__all__ = ["TransferOutcome", "choose_source", "prepare_transfer", "run_transfer"]


@dataclass(frozen=True)
class TransferOutcome:
    """What a transfer ended with: the metrics of the narrow and of the wide model on one split, by the same code."""

    plan: TransferPlan
    folder: WideFolder
    split: Split
    narrow: Mapping[str, float]
    wide: Mapping[str, float]
    wall_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            **self.plan.to_dict(),
            "split": self.split,
            "narrow": dict(self.narrow),
            "wide": dict(self.wide),
            "wall_seconds": self.wall_seconds,
        }


def choose_source(records: list[TrialRecord], name: str | None) -> TrialRecord:
    """Return the trial of this name, or the completed one with the lowest objective of all widths.

    Raises
    ------
    StudyError
        There is no such trial, or it did not complete.
    """
    complete = [best for width in {r.width for r in records} for best in best_trials(records, width)]
    if not complete:
        raise StudyError("no trial of the study has completed yet. Run the search to its end first.")
    if name is None:
        return min(complete, key=lambda record: record.objective)
    found = {record.name: record for record in records}.get(name)
    if found is None:
        raise StudyError(
            f"--trial {name}: the study has no such trial. Its best one is {choose_source(records, None).name}."
        )
    if found.state is not TrialState.COMPLETE:
        raise StudyError(f"--trial {name}: this trial is {found.state}; only a completed one can be widened.")
    return found


def prepare_transfer(study: StudyFolder, width: int, trial: str | None, num_steps: int | None) -> TransferPlan:
    """Plan a transfer; every mistake of the user is told here, before Ray starts."""
    opened = Study.load(study)
    steps = [f"training.num_steps={num_steps}"] if num_steps else []
    checked = load_experiment(study.experiment, [f"search.widths=[{width}]", f"search.space={study.space}", *steps])
    source = choose_source(opened.records(), trial)
    if not study.checkpoint(source.name).exists():
        raise StudyError(f"{study.checkpoint(source.name)}: the checkpoint of {source.name} is missing.")
    return plan_transfer(checked, opened.space, source, width)


def run_transfer(
    plan: TransferPlan, study: StudyFolder, console: Console, num_workers: int, address: str | None = None
) -> TransferOutcome:
    """Check muP at the target width, train the wide model, and measure it beside the narrow one.

    Running it again goes on from the wide model's last checkpoint.

    Raises
    ------
    StudyError
        Another process runs this transfer, its folder holds other settings, or the training diverged.
    CheckError
        A muP gate failed.
    """
    started = time.monotonic()
    folder = WideFolder(study.path / "transfer" / plan.trial.name)
    with exclusive(folder.lock, f"{folder.path}: another process runs this transfer"):
        folder.prepare(plan)
        resources = plan.experiment.resources.model_copy(update={"num_workers": num_workers})
        with ray_session(resources, address):
            _check_mup(plan, folder, console)
            _train(plan, folder, console, num_workers)
            split, narrow, wide = _compare(plan, study, folder, console)
        outcome = TransferOutcome(plan, folder, split, narrow, wide, time.monotonic() - started)
        write_atomically(folder.result, json.dumps(outcome.to_dict(), indent=2))
        return outcome


def _check_mup(plan: TransferPlan, folder: WideFolder, console: Console) -> None:
    """Run the gates once for this folder."""
    if folder.gates.exists() and read_json(folder.gates)["passed"]:
        console.print("muP gates: passed before, with the same settings")
        return
    if plan.experiment.mup.skip_check:
        console.print("muP gates: skipped (mup.skip_check)")
        return
    with console.status("Checking muP: duplication and coordinates ..."):
        report = ray.get(check_mup.remote(plan.experiment))
    write_atomically(folder.gates, json.dumps(report.to_dict(), indent=2))
    for line in report.lines():
        console.print(line, highlight=False, soft_wrap=True)
    if not report.passed:
        raise CheckError(f"{plan.experiment.name}: a muP gate failed, so the tuned values would not transfer.")


def _train(plan: TransferPlan, folder: WideFolder, console: Console, num_workers: int) -> None:
    uses_gpus = cluster_size().gpus >= num_workers
    with _showing(folder, plan, console):
        train_wide(WideJob(plan.experiment, plan.trial, folder), num_workers, uses_gpus)
    if failure := folder.read_progress().failure:
        raise StudyError(f"{plan.trial.name}: {failure}")


@contextmanager
def _showing(folder: WideFolder, plan: TransferPlan, console: Console) -> Iterator[None]:
    """Follow the run's progress file: a bar on a terminal, a line per validation elsewhere."""
    num_steps = plan.experiment.training.num_steps
    columns = (
        TextColumn("Training width {task.fields[width]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps"),
    )
    bar = Progress(*columns, TextColumn("{task.fields[loss]}"), TimeRemainingColumn(), console=console, transient=True)
    task = bar.add_task("train", total=num_steps, width=plan.width, loss="")
    shown = set(folder.read_progress().history)

    def follow() -> None:
        progress = folder.read_progress()
        loss = "" if progress.loss is None else f"train loss {progress.loss:.4f}"
        bar.update(task, completed=progress.step, loss=loss)
        for step in sorted(set(progress.history) - shown):
            shown.add(step)
            if not console.is_terminal:
                objective = progress.history[step][OBJECTIVE]
                console.print(
                    f"width {plan.width}: step {step}/{num_steps}, objective {objective:.4f}", highlight=False
                )

    if console.is_terminal:
        bar.start()
    try:
        with repeating(follow, every_seconds=0.5):
            yield
        follow()
    finally:
        bar.stop()


def _compare(
    plan: TransferPlan, study: StudyFolder, folder: WideFolder, console: Console
) -> tuple[Split, dict[str, float], dict[str, float]]:
    """Measure both models on the test jets, or on the validation jets if there are no others."""
    split: Split = "test" if plan.experiment.data.test else "val"
    with console.status(f"Measuring both models on the {split} jets ..."):
        paths = (study.checkpoint(plan.source.name), folder.checkpoint)
        narrow, wide = ray.get([evaluate_checkpoint.remote(plan.experiment, path, split) for path in paths])
    return split, narrow, wide
