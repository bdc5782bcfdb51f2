"""The search from beginning to end: lock the study, start Ray, check muP, let the workers train, conclude."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from raytag.config.experiment import Experiment, SearchConfig
from raytag.config.space import SearchSpace
from raytag.errors import CheckError, RaytagError, StudyError
from raytag.records import TrialRecord
from raytag.report.executors import Choice
from raytag.report.trials import times_members
from raytag.search.folder import StudyFolder, exclusive
from raytag.search.gating import check_mup
from raytag.search.owner import Snapshot
from raytag.search.progress import SearchProgress
from raytag.search.recording import StudyRecorder
from raytag.search.remote import Job, OpenWorkload, RemoteOwner, run_workers, start_owner
from raytag.search.session import RaySession, cluster_size, share_resources
from raytag.search.study import Study
from raytag.search.verdict import stored_verdict, studies_of_its_file
from raytag.search.watching import repeating

__all__ = ["Outcome", "search", "search_in_session"]

POLL_SECONDS, MIRROR_SECONDS = 0.5, 2.0


@dataclass(frozen=True)
class Outcome:
    """What a search ended with.

    ``gates`` is the gates' report; its ``passed`` is None if they were skipped. ``choices`` says how the groups were
    run (:mod:`raytag.report.executors`). ``num_unfinished`` trials could not be finished, because their workers were
    lost again and again.
    """

    experiment: Experiment
    folder: StudyFolder
    records: tuple[TrialRecord, ...]
    gates: dict[str, Any]
    tracking_uri: str
    wall_seconds: float
    choices: tuple[Choice, ...] = ()
    num_unfinished: int = 0


def search(
    experiment: Experiment,
    space: SearchSpace,
    console: Console,
    *,
    address: str | None = None,
    restart: bool = False,
    open_workload: OpenWorkload | None = None,
) -> Outcome:
    """Train all trials of an experiment in a Ray session of its own (see :func:`search_in_session`).

    ``address`` is that of a running Ray cluster; without one, Ray is started on this machine and stopped at the end.
    """
    with RaySession(experiment.resources, address) as session:
        return search_in_session(session, experiment, space, console, restart=restart, open_workload=open_workload)


def search_in_session(
    session: RaySession,
    experiment: Experiment,
    space: SearchSpace,
    console: Console,
    *,
    restart: bool = False,
    open_workload: OpenWorkload | None = None,
) -> Outcome:
    """Train all trials of an experiment, going on where an earlier run stopped.

    Parameters
    ----------
    session
        Started if there is anything to train, and ended by Ctrl-C.
    experiment, space
        What to search; their files and data have been checked.
    console
        Where progress is shown.
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
        driver.run(session, open_workload)
        study = Study.load(folder)
        return Outcome(
            *(experiment, folder, tuple(study.records())),
            gates=stored_verdict(folder),
            tracking_uri=driver.recorder.mirror.tracking_uri,
            wall_seconds=time.monotonic() - started,
            choices=tuple(study.groups.choices()),
            num_unfinished=study.num_left(),
        )


class _Driver:
    """One run of the search command."""

    def __init__(self, experiment: Experiment, space: SearchSpace, folder: StudyFolder, console: Console) -> None:
        self.experiment, self.space, self.folder, self.console = experiment, space, folder, console
        self.recorder = StudyRecorder(experiment, space, folder, self._say)

    def run(self, session: RaySession, open_workload: OpenWorkload | None) -> None:
        """Train what is left to train, and record how that ended."""
        num_left = self._study().num_left()
        self._announce(num_left)
        if num_left == 0:
            self.recorder.conclude("FINISHED", self._load())
            return
        try:
            session.start()
            self.recorder.start()  # an URI that can never work is told before anything runs
            self._run_on_ray(open_workload)
        except KeyboardInterrupt:
            session.stop()  # whatever still trains
            self.recorder.interrupt()
            raise
        except RaytagError:
            self.recorder.conclude("FAILED", self._load())
            raise
        self.recorder.conclude("FAILED" if self._study().num_left() else "FINISHED", self._load())

    def _run_on_ray(self, open_workload: OpenWorkload | None) -> None:
        cluster = cluster_size()
        most_workers = self.experiment.search.most_workers(self._study().most_at_once())
        share = share_resources(self.experiment.resources, cluster, most_workers)
        self._say(f"{share} on {cluster.num_nodes} node{'s' * (cluster.num_nodes != 1)}")
        job = Job(self.experiment, self.space, self.folder, share, open_workload)
        owner = start_owner(job)
        record = _Follower(owner, lambda snapshot: self.recorder.sync(snapshot.records))
        with repeating(record, MIRROR_SECONDS):
            self._check_mup(job, owner)
            with SearchProgress(self.console, self.experiment) as progress:
                watcher = _Follower(owner, lambda snapshot: self._show(snapshot, progress))
                with repeating(watcher, POLL_SECONDS):
                    self._train(job, owner)
        record()  # the last changes

    def _show(self, snapshot: Snapshot, progress: SearchProgress) -> None:
        for note in snapshot.notes:
            self._say(note)
        progress.update(snapshot.records, snapshot.workers, snapshot.to_ask)

    def _check_mup(self, job: Job, owner: RemoteOwner) -> None:
        """Run the gates unless they passed before or are to be skipped; raise CheckError if one fails."""
        gates = check_mup(
            *(self.experiment, self.folder, self.console),
            others=studies_of_its_file(self.folder, self.experiment),
            open_workload=job.open_workload,
            num_cpus=job.share.cpus,
        )
        if gates is None:
            return
        owner.annotate("gates", gates)
        if gates["passed"] is False:
            raise CheckError(
                f"{self.experiment.name}: a muP gate failed, so its hyperparameters would not transfer; nothing was "
                "searched.\nTo search all the same, as a control: mup.skip_check=true"
            )

    def _train(self, job: Job, owner: RemoteOwner) -> None:
        """Run the workers; again, should they be lost before all trials are finished, as long as they get on."""
        before = -1
        while owner.num_unfinished() and (num_finished := _num_finished(owner.snapshot().records)) > before:
            run_workers(job, owner, self._say)
            before = num_finished

    def _load(self) -> Study | None:
        try:
            return Study.load(self.folder)
        except StudyError:  # it has not begun
            return None

    def _study(self) -> Study:
        return self._load() or Study(self.experiment, self.space)

    def _announce(self, num_left: int) -> None:
        search = self.experiment.search
        widths = ", ".join(map(str, search.widths))
        trials = f"{_budget(search)}{times_members(search.num_members)}"
        self._say(f"Study {self.experiment.name}: {trials} of each width {widths}")
        self._say(f"  in {self.folder.path}")
        if num_finished := _num_finished(study.records() if (study := self._load()) else ()):
            at_least = "at least " if num_left and search.sampler == "lr_grid" else ""
            self._say(f"  {num_finished} trials are finished, {at_least}{num_left} to go")

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


def _budget(search: SearchConfig) -> str:
    """Return how many trials each width gets, in words."""
    if search.sampler == "lr_grid":
        return f"up to {search.most_trials} learning rates"
    return f"{search.most_trials} trial{'s' * (search.most_trials != 1)}"


def _num_finished(records: Iterable[TrialRecord]) -> int:
    return sum(record.is_finished for record in records)
