"""What a search will need: memory, operations and, if it is timed on this machine, hours. Nothing is trained for good.

The machine is the one that asks: a search starts Ray here, unless it is told of a cluster.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from raytag.config.experiment import Experiment
from raytag.search.session import Cluster, Share, share_resources
from raytag.training.calibration import Calibration, calibrate
from raytag.training.cost import flops_per_step
from raytag.training.memory import (
    ExecutorWish,
    GroupMemory,
    free_bytes,
    group_memory,
    process_bytes,
    slots_that_fit,
)
from raytag.training.precision import parameter_dtype
from raytag.training.workload import Workload

__all__ = ["Estimate", "WidthEstimate", "estimate", "load_what_a_worker_loads"]

#: Ray, the owner of the study, the driver, and the idle process that ran the gates, of the smallest search.
BESIDE_WORKERS_BYTES = int(1.3 * 2**30)


@dataclass(frozen=True)
class WidthEstimate:
    """What the trials of one width need.

    Attributes
    ----------
    num_trials, num_members
        The most trials, and the trainings that make one of them, which share a group.
    slots, most_slots
        Of a worker's group: chosen, and the most that fit.
    training_flops
        Of one training to its end.
    calibration
        What was timed, if it was.
    """

    width: int
    num_trials: int
    num_members: int
    memory: GroupMemory
    slots: int
    most_slots: int
    training_flops: int
    calibration: Calibration | None

    @property
    def num_trainings(self) -> int:
        """Trials × members."""
        return self.num_trials * self.num_members

    @property
    def num_groups(self) -> int:
        """How many groups the trials fill."""
        return math.ceil(self.num_trials / (self.slots // self.num_members))


@dataclass(frozen=True)
class Estimate:
    """What a search needs and what there is.

    Attributes
    ----------
    process_bytes
        A worker without a group, on the device where it computes.
    available_bytes
        Memory of the machine that can be taken, or of a worker's share of a GPU.
    """

    experiment: Experiment
    share: Share
    widths: Sequence[WidthEstimate]
    process_bytes: int
    available_bytes: int

    @property
    def num_rounds(self) -> int:
        """How many groups a worker trains, one after the other."""
        return math.ceil(sum(width.num_groups for width in self.widths) / self.share.num_workers)

    @property
    def train_flops(self) -> int:
        """Operations of all trainings, none of them stopped early."""
        return sum(width.num_trainings * width.training_flops for width in self.widths)

    @property
    def hours(self) -> float | None:
        """Wall time of all trainings and validations, none stopped early; None if nothing was timed."""
        training, seconds = self.experiment.training, 0.0
        for width in self.widths:
            if width.calibration is None:
                return None
            seconds += width.num_trainings * width.calibration.worker_seconds(training)
        return seconds / self.share.num_workers / 3600

    @property
    def needed_bytes(self) -> int:
        """The peak of all that shares ``available_bytes``."""
        return self._needed(self.experiment.resources.executor, self.share.num_workers)

    @property
    def fits(self) -> bool:
        """Whether the memory suffices."""
        return self.needed_bytes <= self.available_bytes

    def worker_bytes(self, width: WidthEstimate) -> int:
        """Return the peak of a worker while it trains a width."""
        return self.process_bytes + width.memory.peak(width.slots, self.experiment.resources.executor)

    def remedy(self) -> str | None:
        """Return the change of the experiment with which it would fit, or None if only smaller batches help."""
        num_workers = self.share.num_workers
        if self._needed("loop", num_workers) <= self.available_bytes:
            return "resources.executor=loop"
        if self.share.device == "cuda":  # its workers share nothing but the GPU, in equal parts
            return None
        fitting = [fewer for fewer in range(1, num_workers) if self._needed("loop", fewer) <= self.available_bytes]
        return f"resources.executor=loop resources.num_workers={fitting[-1]}" if fitting else None

    def _needed(self, executor: ExecutorWish, num_workers: int) -> int:
        worker = self.process_bytes + max(width.memory.peak(width.slots, executor) for width in self.widths)
        return worker if self.share.device == "cuda" else num_workers * worker + BESIDE_WORKERS_BYTES


def estimate(
    experiment: Experiment, open_workload: Callable[[Experiment, torch.device], Workload[Any]], *, times: bool
) -> Estimate:
    """Find out what a search of this experiment needs here.

    Parameters
    ----------
    times
        Whether to calibrate: to train a group of every width for a few steps.

    Raises
    ------
    RaytagError
        No worker can be placed here.
    """
    share = _share(experiment)
    device = torch.device(share.device)
    workload = open_workload(experiment, device)
    if device.type == "cuda":
        process, available = 0, free_bytes(device, share.gpus)
        per_worker = available
    else:
        load_what_a_worker_loads()
        process, available = process_bytes(), free_bytes(device, 1.0)
        per_worker = (available - BESIDE_WORKERS_BYTES) // share.num_workers
    widths = []
    for width in experiment.search.widths:
        memory = group_memory(workload, width)
        slots = slots_that_fit(memory, per_worker - process, experiment)
        widths.append(
            WidthEstimate(
                width=width,
                num_trials=experiment.search.most_trials,
                num_members=experiment.search.num_members,
                memory=memory,
                slots=slots,
                most_slots=memory.most_slots(per_worker - process, experiment.resources.executor),
                training_flops=experiment.training.num_steps * _flops_per_step(workload, width),
                calibration=calibrate(workload, width, slots) if times else None,
            )
        )
    return Estimate(experiment, share, widths, process, available)


def _share(experiment: Experiment) -> Share:
    """Divide this machine among the workers, as the search will."""
    search, resources = experiment.search, experiment.resources
    cores = float(len(os.sched_getaffinity(0)))
    if resources.num_workers is not None:  # Ray then takes the user's word for the cores
        cores = max(cores, math.ceil(resources.num_workers * resources.cpus_per_worker))
    cluster = Cluster(cores, float(torch.cuda.device_count()), num_nodes=1)
    return share_resources(resources, cluster, search.most_workers(search.most_trials * len(search.widths)))


def load_what_a_worker_loads() -> None:
    """Make this process as large as a worker's before its first group: torch's counter of operations loads a lot."""
    import_module("raytag.search.remote")
    import_module("raytag.search.worker")
    with FlopCounterMode(display=False):
        torch.ones(1, 1).mm(torch.ones(1, 1))


def _flops_per_step(workload: Workload[Any], width: int) -> int:
    dtype = parameter_dtype(workload.experiment.training)
    return flops_per_step(workload, workload.build_model(width).to(workload.device, dtype))
