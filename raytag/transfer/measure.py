"""The narrow and the wide model, and all that a warm start is compared with, measured on the same jets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from raytag.config.experiment import Experiment
from raytag.data.schema import Split
from raytag.report.comparison import Comparison
from raytag.report.differences import paired_difference
from raytag.report.warm_start import DIFFERENCES, WarmComparison
from raytag.training import checkpoint
from raytag.training.trial_group import TrialGroup
from raytag.training.workload import Workload
from raytag.transfer.plan import TransferPlan
from raytag.workloads import open_workload

__all__ = ["compare", "compare_warm"]


def compare(plan: TransferPlan, narrow: Path, wide: Path, device: torch.device) -> Comparison:
    """Measure the checkpoints of both models on the test jets, or on the validation jets if there are no others."""
    experiment = plan.experiment
    workload = open_workload(experiment, device)
    narrow_model = {"model": plan.study.model, "mup": plan.study.mup}
    of_narrow = open_workload(experiment.model_copy(update=narrow_model), device)
    split: Split = "test" if experiment.data.test else "val"
    groups = [_load(of_narrow, narrow), _load(workload, wide)]
    terms = [workload.objective_terms(workload.predict(group.model(0), split), split) for group in groups]
    (narrow_losses, weights), (wide_losses, _) = [(losses.numpy(), weights.numpy()) for losses, weights in terms]
    paired = paired_difference(narrow_losses, wide_losses, weights)
    return Comparison(
        split=split,
        num_jets=len(weights),
        narrow=groups[0].evaluate(0, split),
        wide=groups[1].evaluate(0, split),
        difference=paired.mean,
        difference_stderr=paired.stderr,
    )


def compare_warm(experiment: Experiment, models: Mapping[str, Path], device: torch.device) -> WarmComparison:
    """Measure the checkpoints of several models, by name, on the test jets or, without any, the validation jets."""
    workload = open_workload(experiment, device)
    split: Split = "test" if experiment.data.test else "val"
    metrics, losses, weights = {}, {}, torch.empty(0)
    for name, path in models.items():
        group = _load(workload, path)
        losses[name], weights = workload.objective_terms(workload.predict(group.model(0), split), split)
        metrics[name] = group.evaluate(0, split)
    differences = {
        (first, second): paired_difference(losses[first].numpy(), losses[second].numpy(), weights.numpy())
        for first, second in DIFFERENCES
        if first in models
    }
    return WarmComparison(split, len(weights), metrics, differences)


def _load(workload: Workload[object], path: Path) -> TrialGroup:
    """Return a group whose slot 0 holds a saved model; what it held out as a fold is no jet of these splits."""
    saved = checkpoint.load(path)
    group = TrialGroup(workload, saved.state.trial.width, slots=1)
    group.start(0, replace(saved.state.trial, fold=None), saved.state)
    return group
