"""The physics tasks an experiment may name, each imported only when it is opened."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch

from raytag.config.experiment import Experiment
from raytag.training.workload import WHOLE, Shard, Workload

__all__ = ["WORKLOADS", "open_workload"]

# `workload:` in the experiment file → module and class
WORKLOADS = {"tagging": ("raytag.tagging.workload", "TaggingWorkload")}


def open_workload(experiment: Experiment, device: torch.device, shard: Shard = WHOLE) -> Workload[Any]:
    """Open the experiment's workload: map its data, ready to build models and batches on this device."""
    module, name = WORKLOADS[experiment.workload]
    workload: type[Workload[Any]] = getattr(import_module(module), name)
    return workload.open(experiment, device, shard)
