"""What a planned transfer will cost, before anything is trained or written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from raytag.records import Cost, TrialRecord
from raytag.report.ledger import Ledger, ledger_of, predict_wide_run
from raytag.training.cost import flops_per_step
from raytag.training.precision import parameter_dtype
from raytag.transfer.plan import TransferPlan
from raytag.transfer.warm_start import WarmStart
from raytag.workloads import open_workload

__all__ = ["expected_ledger"]


def expected_ledger(
    plan: TransferPlan,
    records: Sequence[TrialRecord],
    *,
    warm: WarmStart | None = None,
    trainings_to_verify: tuple[int, int] | None = None,
) -> Ledger:
    """Return the ledger of a transfer that has not run.

    The operations of a model are counted on its first batch. Its seconds follow from them at the source's speed,
    which is too slow a guess where the narrow model did not fill its device.

    Parameters
    ----------
    plan, records
        The transfer, and all records of its study.
    warm
        What the wide model begins with, where ``plan`` is its ``wide``.
    trainings_to_verify
        The fewest and the most wide trainings of a verification, where one is wanted.
    """
    return replace(
        ledger_of(records, plan.source, plan.width, _expected_cost(plan)),
        continued=_expected_cost(warm.continued) if warm else None,
        trainings_to_verify=trainings_to_verify,
        is_expected=True,
    )


def _expected_cost(plan: TransferPlan) -> Cost:
    """Return what the training of a plan will take."""
    training = plan.experiment.training
    workload = open_workload(plan.experiment, torch.device("cpu"))
    model = workload.build_model(plan.width).to(parameter_dtype(training))
    return predict_wide_run(plan.source, float(training.num_steps * flops_per_step(workload, model)))
