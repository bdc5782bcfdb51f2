import numpy as np
import pytest
import torch
from finished_study import COMPLETE

from raytag.training.workload import WHOLE
from raytag.transfer.measure import compare
from raytag.transfer.worker import WideJob, WideRun


def test_both_models_are_measured_on_the_test_jets(finished, folder, plan):
    WideRun(WideJob(plan.experiment, plan.trial, folder), torch.device("cpu"), WHOLE).run()

    comparison = compare(plan.experiment, finished.checkpoint(COMPLETE), folder.checkpoint, torch.device("cpu"))

    assert comparison.split == "test"
    assert comparison.difference == pytest.approx(comparison.wide["objective"] - comparison.narrow["objective"])
    assert comparison.narrow["objective"] == pytest.approx(np.log(4))  # untrained: readouts begin at zero
    assert comparison.narrow.keys() == comparison.wide.keys()
    assert {"auc_b_vs_light", "light_rejection_70", "light_rejection_70_stderr"} <= comparison.wide.keys()


def test_without_test_jets_the_validation_jets_are_used(finished, plan):
    data = plan.experiment.data.model_copy(update={"test": None})
    checkpoint = finished.checkpoint(COMPLETE)

    comparison = compare(plan.experiment.model_copy(update={"data": data}), checkpoint, checkpoint, torch.device("cpu"))

    assert comparison.split == "val"
    assert (comparison.difference, comparison.difference_stderr) == (0, 0)
    assert comparison.paired.is_tied
