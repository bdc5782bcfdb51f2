"""The wide run in MLflow: nested in its study, linked to the trial it was widened from."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence

from raytag.errors import first_line
from raytag.logbook import Logbook, LogbookError, Run, Status, default_tracking_uri
from raytag.records import OBJECTIVE
from raytag.report.comparison import Comparison
from raytag.search.folder import StudyFolder
from raytag.search.verdict import gate_tags, stored_verdict
from raytag.transfer.folder import WideFolder, read_json
from raytag.transfer.plan import TransferPlan

__all__ = ["WideMirror", "WideMirrors", "final_numbers"]


class WideMirror:
    """Writes a wide run to MLflow from the files of its folder; writing again adds nothing.

    A logbook that fails is warned about once and tried again.

    Parameters
    ----------
    plan, study, folder
        The run.
    warn
        Called with one line when MLflow fails for the first time.
    """

    def __init__(self, plan: TransferPlan, study: StudyFolder, folder: WideFolder, warn: Callable[[str], None]) -> None:
        self.tracking_uri = plan.experiment.mlflow.tracking_uri or default_tracking_uri()
        self._plan, self._study, self._folder, self._warn = plan, study, folder, warn
        self._run: Run | None = None
        self._has_warned = False
        self._lock, self._is_closed = threading.Lock(), False

    def sync(self) -> None:
        """Write what is new in the folder, as a run that goes on.

        Raises
        ------
        RaytagError
            The tracking URI can never work.
        """
        with self._lock:
            if not self._is_closed:
                self._attempt(self._write)

    def close(self, status: Status, failure: str = "", numbers: Mapping[str, float] | None = None) -> bool:
        """End the run, with its last numbers and its artifacts; return whether that worked."""

        def close() -> None:
            run = self._write()
            run.tag({"failure": failure})
            run.note(numbers or {})
            folder = self._folder
            files = (folder.experiment, folder.plan, *folder.provenance, folder.gates, folder.result)
            run.attach(file for file in files if file.exists())
            run.set_status(status)

        with self._lock:  # a sync may still be waiting for MLflow in its thread
            self._is_closed = True
            return self._attempt(close)

    def _attempt(self, write: Callable[[], object]) -> bool:
        try:
            write()
        except (LogbookError, OSError) as error:
            if not self._has_warned:
                self._warn(f"MLflow at {self.tracking_uri} failed, will be tried again: {first_line(error)}")
            self._has_warned = True
            return False
        return True

    def _write(self) -> Run:
        """Bring the run up to date; open it first if this is the first time."""
        if self._run is None:
            self._run = self._open()
            self._run.tag({"failure": ""})  # of an earlier attempt
        self._run.set_status("RUNNING")
        self._run.tag(gate_tags(stored_verdict(self._folder)))
        # As for a trial of the search: the objective first, which MLflow's Compare page begins with.
        history = self._folder.read_progress().history
        self._run.follow({step: {"objective": m[OBJECTIVE], **m} for step, m in history.items()})
        if history:
            self._run.note(_numbers(self._plan))
        return self._run

    def _open(self) -> Run:
        plan, study = self._plan, self._study.path.name
        identity = self._study.identity()
        logbook = Logbook(self.tracking_uri, plan.experiment.mlflow.experiment)
        parent = logbook.open_run(identity, study, self._study.tags())
        source = logbook.nested_runs(parent).get(f"{identity}/{plan.source.name}")
        tags = {
            "raytag.kind": "continued" if plan.start.kind == "continued" else "wide",
            "raytag.study": study,
            "raytag.source_trial": plan.source.name,
            "width": str(plan.width),
            **({"raytag.source_run_id": source.run_id} if source else {}),
            **_origin_tags(self._folder),
        }
        key = f"{identity}/{plan.trial.name}/{self._folder.identity.read_text()}"
        run = logbook.open_run(key, plan.trial.name, tags, parent)
        run.describe(_values(plan))
        return run


class WideMirrors:
    """Writes the trainings of a transfer to MLflow, each as a run; the wide model's is the last."""

    def __init__(self, mirrors: Sequence[WideMirror]) -> None:
        *self._others, self._last = mirrors

    @property
    def tracking_uri(self) -> str:
        """Where MLflow records."""
        return self._last.tracking_uri

    def sync(self) -> None:
        """Write what is new (see :meth:`WideMirror.sync`)."""
        for mirror in (*self._others, self._last):
            mirror.sync()

    def close(self, status: Status, failure: str = "", numbers: Mapping[str, float] | None = None) -> bool:
        """End the runs, the wide model's with the last numbers; return whether that worked."""
        are_closed = [mirror.close(status, failure) for mirror in self._others]
        return self._last.close(status, failure, numbers) and all(are_closed)


def _values(plan: TransferPlan) -> dict[str, float]:
    return {entry.name: entry.value for entry in plan.carried if entry.value is not None}


def _numbers(plan: TransferPlan) -> dict[str, float]:
    """Return the hyperparameters as numbers, which MLflow's plots can use as axes."""
    values = _values(plan)
    numbers = {f"hp.{name}": value for name, value in values.items()}
    return {**numbers, "hp.log2_lr": math.log2(values["lr"]), "hp.width": plan.width}


def _origin_tags(folder: WideFolder) -> dict[str, str]:
    """Return the version that trains, and its commit if it runs from a git checkout."""
    if not folder.provenance:
        return {}
    origin = read_json(folder.provenance[-1])
    tags = {"raytag.version": origin["raytag"]}
    if code := origin["code"]:
        tags["mlflow.source.git.commit"] = code["commit"] + ("-dirty" if code["is_dirty"] else "")
    return tags


def final_numbers(comparison: Comparison) -> dict[str, float]:
    """Return both models' metrics on the same jets, and their difference, as MLflow's metrics.

    On validation jets the wide model's are the last ones that it was followed by.
    """
    split = comparison.split
    wide = {} if split == "val" else comparison.wide
    return {
        **{f"{split}/{name}": value for name, value in wide.items()},
        **{f"{split}/narrow_{name}": value for name, value in comparison.narrow.items()},
        f"{split}/objective_difference": comparison.difference,
        f"{split}/objective_difference_stderr": comparison.difference_stderr,
    }
