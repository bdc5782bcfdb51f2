"""A transfer from beginning to end: check muP, train wide, measure both models, record."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from rich.console import Console

from raytag import provenance
from raytag.config.experiment import Experiment
from raytag.errors import CheckError, RaytagError, StudyError
from raytag.files import write_atomically
from raytag.records import SECONDS
from raytag.report.comparison import Comparison
from raytag.search.folder import StudyFolder, exclusive
from raytag.search.session import Cluster, Share, cluster_size, fetch, ray_session
from raytag.search.watching import repeating
from raytag.training.gates import run_gates
from raytag.transfer.folder import WideFolder, read_json
from raytag.transfer.measure import compare
from raytag.transfer.plan import TransferPlan
from raytag.transfer.progress import TrainingProgress
from raytag.transfer.record import WideMirror
from raytag.transfer.train import place_workers, train_wide
from raytag.transfer.worker import WideJob
from raytag.workloads import open_workload

__all__ = ["TransferOutcome", "run_transfer"]

MIRROR_SECONDS = 2.0


@dataclass(frozen=True)
class TransferOutcome:
    """What a transfer ended with. ``is_recorded`` says whether MLflow has all of it."""

    plan: TransferPlan
    folder: WideFolder
    comparison: Comparison
    training_seconds: float
    tracking_uri: str
    is_recorded: bool


def run_transfer(
    plan: TransferPlan,
    study: StudyFolder,
    console: Console,
    *,
    num_workers: int = 1,
    address: str | None = None,
    restart: bool = False,
) -> TransferOutcome:
    """Check muP on the wide experiment, train it, and measure the wide model beside the narrow one.

    Running it again goes on from the wide model's last checkpoint; a finished one is shown and recorded again.

    Parameters
    ----------
    plan, study
        What to train, and the study it comes from.
    console
        Where progress is shown.
    num_workers
        Processes that train the model together.
    address
        A running Ray cluster; without one, Ray is started on this machine and stopped at the end.
    restart
        Move an existing wide run of this name aside first.

    Raises
    ------
    StudyError
        Another process runs this transfer, its folder holds other settings, or the training failed.
    CheckError
        A muP gate failed.
    """
    folder = WideFolder(study.path / "transfer" / plan.trial.name)
    with exclusive(folder.lock, f"{folder.path}: another process runs this transfer"):
        if restart and (aside := folder.move_aside()):
            console.print(f"The old wide run lies in {aside} now.", highlight=False, soft_wrap=True)
        folder.prepare(plan)
        return _Transfer(plan, study, folder, console).run(num_workers, address)


class _Transfer:
    """One run of the transfer command."""

    def __init__(self, plan: TransferPlan, study: StudyFolder, folder: WideFolder, console: Console) -> None:
        self.plan, self.study, self.folder, self.console = plan, study, folder, console
        self.mirror = WideMirror(plan, study, folder, self._say)

    def run(self, num_workers: int, address: str | None) -> TransferOutcome:
        """Do what is left to do, and record how that ended."""
        if self.folder.result.exists():
            self._say(f"Finished before: {self.folder.path}")
            return self._conclude(Comparison(**read_json(self.folder.result)["comparison"]))
        seeds = {"trial": self.plan.trial.seed, "data": self.plan.experiment.training.data_seed}
        self.folder.add_provenance(json.dumps(provenance.collect(seeds).to_dict(), indent=1))
        resources = self.plan.experiment.resources.model_copy(update={"num_workers": num_workers})
        self.mirror.sync()  # an URI that can never work is told before anything runs
        try:
            with repeating(self.mirror.sync, MIRROR_SECONDS), ray_session(resources, address):
                cluster = cluster_size()
                share = place_workers(resources, cluster, num_workers)
                self._check_mup()
                self._train(share, cluster)
                comparison = self._measure(cluster)
        except KeyboardInterrupt:
            self.mirror.close("KILLED", "stopped with Ctrl-C")
            raise
        except RaytagError as error:
            self.mirror.close("FAILED", str(error))
            raise
        result = {**self.plan.to_dict(), "comparison": asdict(comparison)}
        write_atomically(self.folder.result, json.dumps(result, indent=2))
        return self._conclude(comparison)

    def _check_mup(self) -> None:
        """Run the gates once for this folder; raise CheckError if one fails."""
        if self.folder.gates.exists() and read_json(self.folder.gates)["passed"]:
            self._say("muP gates: passed before, with the same settings")
            return
        if self.plan.experiment.mup.skip_check:
            gates: dict[str, Any] = {"passed": None, "lines": ["muP gates: skipped (mup.skip_check)"]}
        else:
            with self.console.status("Checking muP: duplication and coordinates ..."):
                gates = fetch(_check_mup.remote(self.plan.experiment, self.plan.width))
        write_atomically(self.folder.gates, json.dumps(gates, indent=2))
        for line in gates["lines"]:
            self._say(line)
        if gates["passed"] is False:
            raise CheckError(f"{self.plan.experiment.name}: a muP gate failed, so the tuned values would not transfer.")

    def _train(self, share: Share, cluster: Cluster) -> None:
        job = WideJob(self.plan.experiment, self.plan.trial, self.folder)
        self._say(f"{share} on {cluster.num_nodes} node{'s' * (cluster.num_nodes != 1)}")
        if 0 < cluster.gpus < share.num_workers and self._may_use_gpus:
            self._say(f"They train on the CPU, as there are GPUs for {cluster.gpus:g} of them only.")
        with TrainingProgress(self.console, self.plan, self.folder) as progress:
            train_wide(job, share, progress.update)
        if failure := self.folder.read_progress().failure:
            raise StudyError(f"{self.plan.trial.name}: {failure}")

    def _measure(self, cluster: Cluster) -> Comparison:
        uses_gpu = cluster.gpus >= 1 and self._may_use_gpus
        task = _measure.options(num_gpus=int(uses_gpu))
        paths = self.study.checkpoint(self.plan.narrow), self.folder.checkpoint
        with self.console.status("Measuring both models on the same jets ..."):
            comparison: Comparison = fetch(task.remote(self.plan.experiment, *paths, "cuda" if uses_gpu else "cpu"))
        return comparison

    def _conclude(self, comparison: Comparison) -> TransferOutcome:
        history = self.folder.read_progress().history
        seconds = history[max(history)][SECONDS] if history else math.nan
        is_recorded = self.mirror.close("FINISHED", comparison=comparison)
        return TransferOutcome(self.plan, self.folder, comparison, seconds, self.mirror.tracking_uri, is_recorded)

    @property
    def _may_use_gpus(self) -> bool:
        return self.plan.experiment.resources.gpus_per_worker != 0

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)


@ray.remote(num_cpus=1)
def _measure(experiment: Experiment, narrow: Path, wide: Path, device: str) -> Comparison:
    """Measure both models (a Ray task, on a GPU if there is one)."""
    torch.set_num_threads(1)
    return compare(experiment, narrow, wide, torch.device(device))


@ray.remote(num_cpus=1)
def _check_mup(experiment: Experiment, width: int) -> dict[str, Any]:
    """Run both muP gates (a Ray task, on a CPU); return their report as plain values and lines for the terminal."""
    torch.set_num_threads(1)  # two OpenMP threads were 2 to 10 times slower on a shared machine
    report = run_gates(open_workload, experiment, target_width=width)
    return {**report.to_dict(), "lines": list(report.lines())}
