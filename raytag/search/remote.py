"""The processes of a search: the owner as a Ray actor, the workers as Ray Tune trials.

What runs in them is in :mod:`raytag.search.owner` and :mod:`raytag.search.worker`.
"""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray
from ray import tune
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raytag.config.experiment import Experiment
from raytag.config.space import SearchSpace
from raytag.errors import typed_line
from raytag.importing import uncollected
from raytag.records import Move
from raytag.search.folder import StudyFolder
from raytag.search.members import Assignment, Metrics
from raytag.search.owner import Snapshot, StudyOwner
from raytag.search.population_owner import PopulationOwner
from raytag.search.session import Share, fetch

if TYPE_CHECKING:
    import torch

    from raytag.training.workload import Workload

__all__ = ["Job", "OwnerProcess", "RemoteOwner", "run_workers", "start_owner"]

OpenWorkload = Callable[[Experiment, "torch.device"], "Workload[Any]"]


class RemoteOwner:
    """The owner's calls, from any process of the Ray job."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor

    def register(self, worker: str) -> None:
        """See :meth:`StudyOwner.register`."""
        fetch(self.actor.register.remote(worker))

    def lease(self, worker: str) -> int | None:
        """See :meth:`StudyOwner.lease`."""
        width: int | None = fetch(self.actor.lease.remote(worker))
        return width

    def is_over(self) -> bool:
        """See :meth:`StudyOwner.is_over`."""
        is_over: bool = fetch(self.actor.is_over.remote())
        return is_over

    def ask(self, worker: str, width: int, num_free: int) -> Assignment | None:
        """See :meth:`StudyOwner.ask`."""
        assignment: Assignment | None = fetch(self.actor.ask.remote(worker, width, num_free))
        return assignment

    def report(self, worker: str, name: str, step: int, members: Sequence[Metrics]) -> bool:
        """See :meth:`StudyOwner.report`."""
        goes_on: bool = fetch(self.actor.report.remote(worker, name, step, members))
        return goes_on

    def fail(self, worker: str, name: str, reason: str, traceback: str = "", *, diverged: bool = False) -> None:
        """See :meth:`StudyOwner.fail`."""
        fetch(self.actor.fail.remote(worker, name, reason, traceback, diverged=diverged))

    def give_back(self, worker: str, names: Sequence[str]) -> None:
        """See :meth:`StudyOwner.give_back`."""
        fetch(self.actor.give_back.remote(worker, names))

    def slots(self, width: int, place: str) -> int | None:
        """See :meth:`StudyOwner.slots`."""
        slots: int | None = fetch(self.actor.slots.remote(width, place))
        return slots

    def limit_slots(self, worker: str, width: int, place: str, slots: int) -> None:
        """See :meth:`StudyOwner.limit_slots`."""
        fetch(self.actor.limit_slots.remote(worker, width, place, slots))

    def choice(self, width: int, kind: str) -> dict[str, Any] | None:
        """See :meth:`GroupNotes.choice`."""
        choice: dict[str, Any] | None = fetch(self.actor.choice.remote(width, kind))
        return choice

    def keep_choice(self, kind: str, choice: dict[str, Any]) -> dict[str, Any]:
        """See :meth:`GroupNotes.keep_choice`."""
        kept: dict[str, Any] = fetch(self.actor.keep_choice.remote(kind, choice))
        return kept

    def release(self, worker: str, reason: str) -> None:
        """See :meth:`StudyOwner.release`."""
        fetch(self.actor.release.remote(worker, reason))

    def evolve(self, worker: str, step: int) -> dict[str, Move]:
        """See :meth:`PopulationOwner.evolve`."""
        moves: dict[str, Move] = fetch(self.actor.evolve.remote(worker, step))
        return moves

    def snapshot(self, since: int = -1) -> Snapshot:
        """See :meth:`StudyOwner.snapshot`."""
        snapshot: Snapshot = fetch(self.actor.snapshot.remote(since))
        return snapshot

    def num_unfinished(self) -> int:
        """See :meth:`StudyOwner.num_unfinished`."""
        number: int = fetch(self.actor.num_unfinished.remote())
        return number

    def annotate(self, key: str, value: object) -> None:
        """See :meth:`StudyOwner.annotate`."""
        fetch(self.actor.annotate.remote(key, value))


class _OpenedLater:
    """Opens the study when told to: Ray keeps the error of a call, but only the text of a constructor's."""

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments

    def open(self) -> None:
        """Lock and open the study."""
        super().__init__(*self._arguments)


class OwnerProcess(_OpenedLater, StudyOwner):
    """The owner as an actor."""


class PopulationOwnerProcess(_OpenedLater, PopulationOwner):
    """The owner of populations as an actor."""


@dataclass(frozen=True)
class Job:
    """What every process of a search needs to know."""

    experiment: Experiment
    space: SearchSpace
    folder: StudyFolder
    share: Share
    open_workload: OpenWorkload | None = None

    @property
    def device(self) -> torch.device:
        """Where a worker computes."""
        import torch

        return torch.device(self.share.device)

    @property
    def place(self) -> str:
        """What a worker's memory is a share of, in words: "cpu", or "0.25 of an NVIDIA H100"."""
        import torch

        if self.device.type == "cpu":
            return "cpu"
        return f"{min(1.0, self.share.gpus):g} of an {torch.cuda.get_device_name()}"

    def limit_memory(self) -> None:
        """Keep this process to its share of the GPU's memory: Ray divides the device in name only."""
        import torch

        if self.device.type == "cuda":
            torch.cuda.set_per_process_memory_fraction(min(1.0, self.share.gpus))

    def opener(self) -> OpenWorkload:
        """Return what opens the task in this process, which then computes on one thread."""
        import torch

        from raytag.training.precision import allow_tf32
        from raytag.workloads import open_workload

        torch.set_num_threads(1)  # two OpenMP threads were 2 to 10 times slower on a shared machine
        allow_tf32(self.experiment.training.tf32)
        return self.open_workload or open_workload


def start_owner(job: Job) -> RemoteOwner:
    """Start the owner on this node, where the study's folder is certainly mounted and the driver is near."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    process = PopulationOwnerProcess if job.experiment.search.scheduler == "pbt" else OwnerProcess
    actor = ray.remote(process).options(num_cpus=0, scheduling_strategy=here)
    owner = RemoteOwner(actor.remote(job.folder, job.experiment, job.space, job.share.num_workers))
    fetch(owner.actor.open.remote())
    return owner


def train_worker(config: dict[str, int], job: Job, owner: RemoteOwner) -> None:
    """Be a Ray Tune trial that is one worker; ``config["index"]`` tells it from the others."""
    with uncollected():
        from raytag.search.worker import Worker

    name = _worker_name(config)
    owner.register(name)
    try:
        job.limit_memory()
        workload = job.opener()(job.experiment, job.device)
        worker = Worker(
            name,
            owner,
            workload,
            job.folder,
            place=job.place,
            memory_share=job.share.memory,
        )
        worker.work()
    except Exception as error:
        owner.release(name, f"{typed_line(error)}\n{traceback.format_exc()}")
        raise
    owner.release(name, "the worker is done")
    tune.report({"is_done": True})  # Tune prints a line for a trial that never reports


def run_workers(job: Job, owner: RemoteOwner, say: Callable[[str], None]) -> None:
    """Run all workers until none has anything left to do; lost ones are started again, a few times."""
    shutil.rmtree(job.folder.tune, ignore_errors=True)  # of an earlier run: the study is the truth
    share, resources = job.share, job.experiment.resources
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(train_worker, job=job, owner=owner), {"CPU": share.cpus, "GPU": share.gpus}
        ),
        param_space={"index": tune.grid_search(list(range(share.num_workers)))},
        run_config=tune.RunConfig(
            name="workers",
            storage_path=str(job.folder.tune),
            failure_config=tune.FailureConfig(max_failures=resources.max_worker_failures),
            callbacks=[_LostWorkers(owner, say)],
            verbose=0,
        ),
    )
    tuner.fit()


class _LostWorkers(tune.Callback):
    """Frees the trials of a worker as soon as Tune sees that it is gone, and says so."""

    def __init__(self, owner: RemoteOwner, say: Callable[[str], None]) -> None:
        self._owner, self._say = owner, say

    def __getstate__(self) -> dict[str, Any]:
        """Leave all out: Tune pickles its callbacks for a restore that never happens, as the study is the truth."""
        return {}

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        """See :class:`tune.Callback`: a worker failed and is started again."""
        self._lost(trial, "it is started again")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        """See :class:`tune.Callback`: a worker failed once too often."""
        self._lost(trial, "it is not started again")

    def _lost(self, trial: Any, consequence: str) -> None:
        worker = _worker_name(trial.config)
        cause = getattr(trial.get_pickled_error(), "cause", None)  # a dead process has none
        reason = typed_line(cause) if cause else "its process died"
        self._owner.release(worker, reason)
        self._say(f"{worker} was lost ({reason}); {consequence}, and its trials go on from their checkpoints")


def _worker_name(config: Mapping[str, int]) -> str:
    return f"worker-{config['index']}"
