"""What a transfer computes beside the training itself, as Ray tasks: its driver needs no accelerator."""

from __future__ import annotations

from collections.abc import Mapping

import ray
import torch

from raytag.data.schema import Split
from raytag.report.comparison import Measured
from raytag.transfer.folder import WideFolder
from raytag.transfer.measure import SavedModel, measure
from raytag.transfer.warm_start import WarmStart, write_starts

__all__ = ["measure_all", "prepare_starts"]


@ray.remote(num_cpus=1)
def measure_all(models: Mapping[str, SavedModel], split: Split, device: str) -> Measured:
    """Measure all models (a Ray task, on a GPU if there is one)."""
    torch.set_num_threads(1)
    return measure(models, split, torch.device(device))


@ray.remote(num_cpus=1)
def prepare_starts(warm: WarmStart, folder: WideFolder) -> None:
    """Write what the trainings of a warm start begin with (a Ray task)."""
    torch.set_num_threads(1)
    write_starts(warm, folder, torch.device("cpu"))
