"""What a transfer computes beside the training itself, as Ray tasks: its driver needs no accelerator."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import ray
import torch

from raytag.report.comparison import Comparison
from raytag.report.warm_start import NARROW, WARM, WarmComparison
from raytag.transfer.folder import WideFolder
from raytag.transfer.measure import compare, compare_warm
from raytag.transfer.plan import TransferPlan
from raytag.transfer.warm_start import WarmStart, write_starts

__all__ = ["measure", "prepare_starts"]


@ray.remote(num_cpus=1)
def measure(
    plan: TransferPlan, models: Mapping[str, Path], is_warm: bool, device: str
) -> tuple[Comparison, WarmComparison | None]:
    """Measure all models (a Ray task, on a GPU if there is one)."""
    torch.set_num_threads(1)
    comparison = compare(plan, models[NARROW], models[WARM], torch.device(device))
    return comparison, compare_warm(plan.experiment, models, torch.device(device)) if is_warm else None


@ray.remote(num_cpus=1)
def prepare_starts(warm: WarmStart, folder: WideFolder) -> None:
    """Write what the trainings of a warm start begin with (a Ray task)."""
    torch.set_num_threads(1)
    write_starts(warm, folder, torch.device("cpu"))
