"""The search from beginning to end: lock the study, start Ray, check muP, let the workers train, conclude."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import ray
from rich.console import Console

from raytag import __version__, provenance
from raytag.config.experiment import Experiment
from raytag.config.resolved import results_digest
from raytag.config.space import SearchSpace
from raytag.errors import CheckError, RaytagError, StudyError
from raytag.files import write_atomically
from raytag.importing import uncollected
from raytag.records import TrialRecord
from raytag.report.executors import Choice
from raytag.report.trials import times_members
from raytag.search.folder import StudyFolder, exclusive
from raytag.search.owner import Snapshot
from raytag.search.progress import SearchProgress
from raytag.search.remote import Job, OpenWorkload, RemoteOwner, check_mup, run_workers, start_owner
from raytag.search.session import cluster_size, fetch, ray_session, share_resources
from raytag.search.study import Study
from raytag.search.watching import begin, repeating

if TYPE_CHECKING:
    from raytag.logbook import Status
    from raytag.search.mirror import StudyMirror

__all__ = ["Outcome", "search"]

POLL_SECONDS, MIRROR_SECONDS = 0.5, 2.0


@dataclass(frozen=True)
class Outcome:
    """What a search ended with.

    ``gates`` is the gates' report; its ``passed`` is None if they were skipped. ``choices`` says how the groups were
    run (:mod:`raytag.report.executors`).
    """

    experiment: Experiment
    folder: StudyFolder
    records: tuple[TrialRecord, ...]
    gates: dict[str, Any]
    tracking_uri: str
    wall_seconds: float
    choices: tuple[Choice, ...] = ()

    @property
    def num_unfinished(self) -> int:
        """Trials that could not be finished, because their workers were lost again and again."""
        return _num_trials(self.experiment) - sum(record.is_finished for record in self.records)


def search(
    experiment: Experiment,
    space: SearchSpace,
    console: Console,
    *,
    address: str | None = None,
    restart: bool = False,
    open_workload: OpenWorkload | None = None,
) -> Outcome:
    """Train all trials of an experiment, going on where an earlier run stopped.

    Parameters
    ----------
    experiment, space
        What to search; their files and data have been checked.
    console
        Where progress is shown.
    address
        A running Ray cluster; without one, Ray is started on this machine and stopped at the end.
    restart
        Move an existing study of this name aside first.
    open_workload
        Opens the task in every worker; :func:`raytag.workloads.open_workload` unless given.

    Raises
    ------
    StudyError
        Another search of this study is running, or the study was made with other settings.
    CheckError
        A muP gate failed.
    """
    started = time.monotonic()
    folder = StudyFolder(experiment.study_folder)
    with exclusive(folder.lock, f"{folder.path}: another search of this study is running"):
        if restart and (aside := folder.move_aside()):
            console.print(f"The old study lies in {aside} now.", soft_wrap=True)
        folder.prepare(experiment, space)
        driver = _Driver(experiment, space, folder, console)
        driver.run(address, open_workload)
        study = Study.load(folder)
        records, choices = tuple(study.records()), tuple(study.choices())
        wall_seconds = time.monotonic() - started
        return Outcome(experiment, folder, records, driver.gates, driver.mirror.tracking_uri, wall_seconds, choices)


class _Driver:
    """One run of the search command."""

    def __init__(self, experiment: Experiment, space: SearchSpace, folder: StudyFolder, console: Console) -> None:
        self.experiment, self.space, self.folder, self.console = experiment, space, folder, console
        self.digest = results_digest(experiment, space)
        self.gates: dict[str, Any] = self._stored_gates()
        self._opening = begin(self._open_mirror)

    @property
    def mirror(self) -> StudyMirror:
        """The mirror, as soon as it is open; RaytagError if its URI can never work."""
        return self._opening.result()

    def _open_mirror(self) -> StudyMirror:
        """Import MLflow and open the logbook, which takes as long as Ray takes to start."""
        with uncollected():
            from raytag.search.mirror import StudyMirror
        mlflow = self.experiment.mlflow
        mirror = StudyMirror(self.folder, mlflow.tracking_uri, mlflow.experiment, self._say)
        mirror.open()
        return mirror

    def run(self, address: str | None, open_workload: OpenWorkload | None) -> None:
        """Train what is left to train, and record how that ended."""
        num_left = self._num_left()
        self._announce(num_left)
        if num_left == 0:
            self._conclude("FINISHED")
            return
        try:
            with ray_session(self.experiment.resources, address):
                self._opening.result()  # an URI that can never work is told before anything runs
                begin(lambda: import_module("raytag.report.loss_versus_lr"))  # matplotlib, while the owner starts
                self._run_on_ray(num_left, open_workload, self._note_provenance())
        except KeyboardInterrupt:
            self.mirror.close("KILLED")
            raise
        except RaytagError:
            self._conclude("FAILED")
            raise
        self._conclude("FAILED" if self._num_left() else "FINISHED")

    def _note_provenance(self) -> dict[str, str]:
        """Keep what this run is made of; return the tags that say so in MLflow."""
        origin = provenance.collect({"search": self.experiment.search.seed, "data": self.experiment.training.data_seed})
        self.folder.add_provenance(json.dumps(origin.to_dict(), indent=1))
        tags = {"raytag.digest": self.digest, "raytag.version": __version__}
        if origin.code:
            tags["mlflow.source.git.commit"] = origin.code.commit + ("-dirty" if origin.code.is_dirty else "")
        return tags

    def _run_on_ray(self, num_left: int, open_workload: OpenWorkload | None, tags: dict[str, str]) -> None:
        cluster = cluster_size()
        share = share_resources(self.experiment.resources, cluster, self.experiment.search.most_workers(num_left))
        self._say(f"{share} on {cluster.num_nodes} node{'s' * (cluster.num_nodes != 1)}")
        job = Job(self.experiment, self.space, self.folder, share, open_workload)
        owner = start_owner(job)
        recorder = _Follower(owner, lambda snapshot: self.mirror.sync(snapshot.records, tags))
        with repeating(recorder, MIRROR_SECONDS):
            self._check_mup(job, owner)
            tags.update(_gate_tags(self.gates))
            with SearchProgress(self.console, self.experiment) as progress:
                watcher = _Follower(owner, lambda snapshot: self._show(snapshot, progress))
                with repeating(watcher, POLL_SECONDS):
                    self._train(job, owner)
        recorder()  # the last changes

    def _show(self, snapshot: Snapshot, progress: SearchProgress) -> None:
        for note in snapshot.notes:
            self._say(note)
        progress.update(snapshot.records, snapshot.workers)

    def _check_mup(self, job: Job, owner: RemoteOwner) -> None:
        """Run the gates unless they passed before or are to be skipped; raise CheckError if one fails."""
        if self.gates.get("passed") and self.gates.get("digest") == self.digest:
            self._say("muP gates: passed before, with the same settings")
            return
        if self.experiment.mup.skip_check:
            self.gates = {"passed": None, "lines": ["muP gates: skipped (mup.skip_check)"]}
        else:
            with self.console.status("Checking muP: duplication and coordinates ..."):
                task = ray.remote(check_mup).options(num_cpus=job.share.cpus)
                self.gates = fetch(task.remote(job))
        self.gates["digest"] = self.digest
        write_atomically(self.folder.gates, json.dumps(self.gates, indent=1))
        owner.annotate("gates", self.gates)
        for line in self.gates["lines"]:
            self._say(line)
        if self.gates["passed"] is False:
            raise CheckError(
                f"{self.experiment.name}: a muP gate failed, so its hyperparameters would not transfer; nothing was "
                "searched.\nTo search all the same, as a control: mup.skip_check=true"
            )

    def _train(self, job: Job, owner: RemoteOwner) -> None:
        """Run the workers; again, should they be lost before all trials are finished, as long as they get on."""
        left = owner.num_unfinished()
        while left:
            run_workers(job, owner, self._say)
            before, left = left, owner.num_unfinished()
            if left == before:
                break

    def _conclude(self, status: Status) -> None:
        """Draw the picture and bring MLflow up to date."""
        files = [self.folder.experiment, self.folder.space, *self.folder.provenance, self.folder.gates]
        study = self._load()
        records = study.records() if study else []
        if any(record.history for record in records):
            from raytag.report.loss_versus_lr import draw_loss_versus_lr

            draw_loss_versus_lr(records, self.folder.picture, f"{self.experiment.name}: objective versus learning rate")
            files.append(self.folder.picture)
        choices = study.choices() if study else []
        if not self.mirror.close(status, files, records, _gate_tags(self.gates), choices):
            self._say("MLflow lacks the last results; the same command writes them when it answers again.")

    def _load(self) -> Study | None:
        try:
            return Study.load(self.folder)
        except StudyError:  # it has not begun
            return None

    def _num_left(self) -> int:
        records = study.records() if (study := self._load()) else []
        return _num_trials(self.experiment) - sum(record.is_finished for record in records)

    def _stored_gates(self) -> dict[str, Any]:
        stored: dict[str, Any] = json.loads(self.folder.gates.read_text()) if self.folder.gates.exists() else {}
        return stored

    def _announce(self, num_left: int) -> None:
        search, total = self.experiment.search, _num_trials(self.experiment)
        widths = ", ".join(map(str, search.widths))
        trials = f"{search.trials_per_width} trials{times_members(search.num_members)}"
        self._say(f"Study {self.experiment.name}: {trials} of each width {widths}")
        self._say(f"  in {self.folder.path}")
        if num_left < total:
            self._say(f"  {total - num_left} trials are finished, {num_left} to go")

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)


class _Follower:
    """Fetches what changed in the study since its last call and passes it on."""

    def __init__(self, owner: RemoteOwner, consume: Callable[[Snapshot], object]) -> None:
        self._owner, self._consume = owner, consume
        self._version = -1

    def __call__(self) -> None:
        snapshot = self._owner.snapshot(self._version)
        self._version = snapshot.version
        self._consume(snapshot)


def _num_trials(experiment: Experiment) -> int:
    return experiment.search.trials_per_width * len(experiment.search.widths)


def _gate_tags(gates: Mapping[str, Any]) -> dict[str, str]:
    if not gates:
        return {}
    return {"mup.gates": {True: "passed", False: "failed", None: "skipped"}[gates["passed"]]}
