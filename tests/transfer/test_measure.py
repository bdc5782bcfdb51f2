import numpy as np
import pytest
import torch
from finished_study import COMPLETE

from raytag.training.workload import WHOLE
from raytag.transfer.measure import compare, paired_difference
from raytag.transfer.worker import WideJob, WideRun

rng = np.random.default_rng(1)


def test_paired_difference_is_that_of_the_weighted_means():
    narrow, wide, weights = rng.random((3, 200))

    difference, _ = paired_difference(narrow, wide, weights)

    assert difference == pytest.approx(np.average(wide, weights=weights) - np.average(narrow, weights=weights))


def test_what_both_models_share_does_not_blur_their_difference():
    shared, weights = 10 * rng.random(5000), np.ones(5000)
    change = 0.01 * rng.standard_normal(5000) - 0.02

    difference, stderr = paired_difference(shared, shared + change, weights)

    assert difference == pytest.approx(-0.02, abs=5e-4)
    assert stderr == pytest.approx(0.01 / np.sqrt(5000), rel=0.05)


def test_error_is_the_spread_over_many_samples():
    weights = 1 + rng.random(300)
    samples = [paired_difference(np.zeros(300), rng.standard_normal(300), weights) for _ in range(2000)]

    differences, errors = np.array(samples).T
    assert errors.mean() == pytest.approx(differences.std(), rel=0.05)


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
    assert comparison.is_tied
