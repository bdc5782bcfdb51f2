"""What a planned transfer will cost, before anything is trained or written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from raytag.records import TrialRecord
from raytag.report.ledger import Ledger, ledger_of, predict_wide_run
from raytag.training.cost import flops_per_step
from raytag.training.precision import parameter_dtype
from raytag.transfer.plan import TransferPlan
from raytag.workloads import open_workload

__all__ = ["expected_ledger"]


def expected_ledger(plan: TransferPlan, records: Sequence[TrialRecord]) -> Ledger:
    """Return the ledger of a transfer that has not run, given all records of its study.

    The wide model's operations are counted on its first batch. Its seconds follow from them at the source's speed,
    which is too slow a guess where the narrow model did not fill its device.
    """
    training = plan.experiment.training
    workload = open_workload(plan.experiment, torch.device("cpu"))
    model = workload.build_model(plan.width).to(parameter_dtype(training))
    train_flops = float(training.num_steps * flops_per_step(workload, model))
    wide_run = predict_wide_run(plan.source, train_flops)
    return replace(ledger_of(records, plan.source, plan.width, wide_run), is_expected=True)
