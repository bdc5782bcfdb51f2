from dataclasses import replace

import numpy as np
import pytest
import torch
from finished_study import COMPLETE

from raytag.config.document import dump_yaml, load_yaml
from raytag.training import checkpoint
from raytag.training.workload import WHOLE
from raytag.transfer.folder import WideFolder
from raytag.transfer.measure import compare
from raytag.transfer.prepare import prepare_transfer
from raytag.transfer.target import Target
from raytag.transfer.worker import WideJob, WideRun


def test_both_models_are_measured_on_the_test_jets(finished, folder, plan):
    WideRun(WideJob(plan.experiment, plan.trial, folder), torch.device("cpu"), WHOLE).run()

    comparison = compare(plan, finished.checkpoint(COMPLETE), folder.checkpoint, torch.device("cpu"))

    assert comparison.split == "test"
    assert comparison.difference == pytest.approx(comparison.wide["objective"] - comparison.narrow["objective"])
    assert comparison.narrow["objective"] == pytest.approx(np.log(4))  # untrained: readouts begin at zero
    assert comparison.narrow.keys() == comparison.wide.keys()
    assert {"auc_b_vs_light", "light_rejection_70", "light_rejection_70_stderr"} <= comparison.wide.keys()


def test_without_test_jets_the_validation_jets_are_used(finished, plan):
    data = plan.experiment.data.model_copy(update={"test": None})
    plan = replace(plan, experiment=plan.experiment.model_copy(update={"data": data}))
    narrow = finished.checkpoint(COMPLETE)

    comparison = compare(plan, narrow, narrow, torch.device("cpu"))

    assert comparison.split == "val"
    assert (comparison.difference, comparison.difference_stderr) == (0, 0)
    assert comparison.paired.is_tied


def test_the_narrow_model_is_measured_in_its_own_depth(finished, tmp_path):
    plan = prepare_transfer(finished, Target(32, num_layers=3))
    folder = WideFolder(tmp_path / plan.trial.name)
    folder.prepare(plan)
    WideRun(WideJob(plan.experiment, plan.trial, folder), torch.device("cpu"), WHOLE).run()

    comparison = compare(plan, finished.checkpoint(COMPLETE), folder.checkpoint, torch.device("cpu"))

    assert comparison.narrow["objective"] == pytest.approx(np.log(4))
    assert comparison.wide["objective"] != comparison.narrow["objective"]


def test_a_narrow_model_that_held_a_fold_out_is_measured_on_the_jets_of_the_wide_one(study, tmp_path):
    settings = load_yaml(study.experiment).data
    settings["search"] |= {"folds": 2}
    settings["data"]["test"] = None
    study.experiment.write_text(dump_yaml(settings))
    narrow = study.checkpoint(f"{COMPLETE}-f0")
    save_perturbed(study.checkpoint(COMPLETE), narrow, fold=0)
    plan = prepare_transfer(study, Target(32))
    folder = WideFolder(tmp_path / plan.trial.name)
    folder.prepare(plan)
    WideRun(WideJob(plan.experiment, plan.trial, folder), torch.device("cpu"), WHOLE).run()

    comparison = compare(plan, narrow, folder.checkpoint, torch.device("cpu"))

    assert comparison.split == "val"
    assert comparison.difference == pytest.approx(comparison.wide["objective"] - comparison.narrow["objective"])


def save_perturbed(path, place, fold):
    """Save another model, which is not an untrained one, as a checkpoint of the training that held a fold out."""
    saved = checkpoint.load(path)
    generator = torch.Generator().manual_seed(1)
    parameters = {
        name: values + torch.randn(values.shape, generator=generator) / 10
        for name, values in saved.state.parameters.items()
    }
    state = replace(saved.state, parameters=parameters, trial=replace(saved.state.trial, fold=fold))
    place.parent.mkdir()
    checkpoint.save(place, state, saved.table, saved.history)
