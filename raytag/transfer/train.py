"""The wide run: Ray Train workers that train one model together and save it where any of them can go on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from ray import train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from raytag.config.experiment import Experiment
from raytag.data.schema import Split
from raytag.records import SECONDS
from raytag.training import checkpoint
from raytag.training.data_parallel import data_parallel
from raytag.training.executors import loop
from raytag.training.gates import GateReport, run_gates
from raytag.training.trial import Trial
from raytag.training.trial_group import TrialGroup
from raytag.training.workload import Shard
from raytag.transfer.folder import WideFolder, WideProgress
from raytag.workloads import open_workload

__all__ = ["WideJob", "check_mup", "evaluate_checkpoint", "train_wide"]

PROGRESS_SECONDS = 0.5


@dataclass(frozen=True)
class WideJob:
    """What every worker of a wide run needs to know."""

    experiment: Experiment
    trial: Trial
    folder: WideFolder


def train_wide(job: WideJob, num_workers: int, use_gpu: bool) -> None:
    """Train the wide model on Ray Train workers, going on from its checkpoint if there is one. Ray must be running.

    The result does not depend on the number of workers: they share each global batch. A lost worker makes Ray Train
    start all of them again, from the last checkpoint.
    """
    TorchTrainer(
        _train_worker,
        train_loop_config={"job": job},
        torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
        scaling_config=ScalingConfig(num_workers=num_workers, use_gpu=use_gpu),
        run_config=RunConfig(
            name="ray",
            storage_path=str(job.folder.path),
            failure_config=FailureConfig(max_failures=job.experiment.resources.max_worker_failures),
        ),
    ).fit()


def _train_worker(config: dict[str, Any]) -> None:
    """Be one Ray Train worker; the first one validates, saves and says how far the run is."""
    job: WideJob = config["job"]
    torch.set_num_threads(1)  # two OpenMP threads were 2 to 10 times slower on a shared machine
    context = train.get_context()
    shard = Shard(context.get_world_rank(), context.get_world_size())
    device = train.torch.get_device()
    workload = open_workload(job.experiment, device, shard)
    executor = data_parallel if shard.world_size > 1 else loop
    group = TrialGroup(
        workload,
        job.trial.width,
        slots=1,
        mup=job.experiment.mup,
        training=job.experiment.training,
        device=device,
        executor=executor,
    )
    _WideRun(job, group, is_first=shard.rank == 0).run()
    train.report({"step": group.own_step(0)})


class _WideRun:
    """The loop of one worker, over the single slot of its group."""

    def __init__(self, job: WideJob, group: TrialGroup, is_first: bool) -> None:
        self._job, self._group, self._is_first = job, group, is_first
        self._history: dict[int, dict[str, float]] = {}
        self._seconds = 0.0
        self._last_progress = 0.0

    def run(self) -> None:
        """Train to the end, or until the loss is not a number any more."""
        self._start()
        every = self._job.experiment.training.evaluate_every
        while self._group.is_running(0):
            started = time.perf_counter()
            result = self._group.step()[0]
            self._seconds += time.perf_counter() - started
            if not self._is_first:
                continue
            if result.failure is None and (result.is_finished or result.step % every == 0):
                self._validate(result.step, result.loss)
            if result.failure or result.is_finished or time.monotonic() - self._last_progress > PROGRESS_SECONDS:
                self._last_progress = time.monotonic()
                self._job.folder.write_progress(
                    WideProgress(result.step, result.loss, self._history, failure=result.failure)
                )

    def _start(self) -> None:
        path = self._job.folder.checkpoint
        if not path.exists():
            self._group.start(0, self._job.trial)
            return
        saved = checkpoint.load(path)
        self._group.start(0, self._job.trial, saved.state)
        self._history = {step: dict(metrics) for step, metrics in saved.history.items()}
        self._seconds = self._history[saved.state.step][SECONDS]

    def _validate(self, step: int, loss: float) -> None:
        metrics = {f"val/{name}": value for name, value in self._group.evaluate(0).items()}
        self._history[step] = {**metrics, "train/loss": loss, SECONDS: self._seconds}
        checkpoint.save(self._job.folder.checkpoint, self._group.state(0), self._group.table, self._history)


@ray.remote(num_cpus=1)
def check_mup(experiment: Experiment) -> GateReport:
    """Run both muP gates; a Ray task."""
    torch.set_num_threads(1)
    return run_gates(open_workload, experiment)


@ray.remote(num_cpus=1)
def evaluate_checkpoint(experiment: Experiment, path: Path, split: Split) -> dict[str, float]:
    """Return the metrics of a saved model on a split; a Ray task."""
    torch.set_num_threads(1)
    saved = checkpoint.load(path)
    device = torch.device("cpu")
    workload = open_workload(experiment, device)
    group = TrialGroup(
        workload,
        saved.state.trial.width,
        slots=1,
        mup=experiment.mup,
        training=experiment.training,
        device=device,
    )
    group.start(0, saved.state.trial, saved.state)
    return group.evaluate(0, split)
