"""What a transfer is expected to cost, against what it does cost."""

from dataclasses import replace

import pytest
import torch

from raytag.search.study import Study
from raytag.training.workload import WHOLE
from raytag.transfer.estimate import expected_ledger
from raytag.transfer.folder import WideFolder
from raytag.transfer.prepare import prepare_transfer
from raytag.transfer.source import Source
from raytag.transfer.target import Target
from raytag.transfer.warm_start import narrow_model, plan_warm_start
from raytag.transfer.worker import WideJob, WideRun


@pytest.fixture
def warm(finished):
    plan = prepare_transfer(finished, Target(32, num_steps=40))
    return plan_warm_start(plan, "tiny", narrow_model(Source(finished, plan.narrow)))


@pytest.fixture
def source(warm):
    """The source trial with a cost, which the study's has not."""
    return replace(warm.wide.source, history={30: {"train_flops": 1e9, "seconds": 2.0}})


def flops_of(plan, path):
    """Train a plan from first values and return the operations that were counted."""
    folder = WideFolder(path / plan.trial.name)
    folder.prepare(plan)
    WideRun(WideJob(plan.experiment, plan.trial, folder), torch.device("cpu"), WHOLE).run()
    return folder.read_progress().cost.train_flops


def test_both_trainings_of_a_warm_start_are_expected_to_take_what_they_take(warm, source, tmp_path):
    ledger = expected_ledger(replace(warm.wide, source=source), [source], warm=warm)

    for expected, plan in ((ledger.wide_run, warm.wide), (ledger.continued, warm.continued)):
        assert expected.train_flops == pytest.approx(flops_of(plan, tmp_path), rel=0.05)  # another minibatch


def test_seconds_are_expected_at_the_speed_of_the_source(warm, source):
    ledger = expected_ledger(replace(warm.wide, source=source), [source])

    assert ledger.wide_run.worker_seconds == pytest.approx(2e-9 * ledger.wide_run.train_flops)
    assert ledger.is_expected


def test_what_is_not_wanted_costs_nothing(finished, warm):
    ledger = expected_ledger(warm.scratch, Study.load(finished).records())

    assert (ledger.continued, ledger.verification, ledger.trainings_to_verify) == (None, None, None)
