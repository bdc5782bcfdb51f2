from dataclasses import replace

import numpy as np
import pytest
import torch
from finished_study import COMPLETE

from raytag.config.document import dump_yaml, load_yaml
from raytag.training import checkpoint
from raytag.training.workload import WHOLE
from raytag.transfer.folder import WideFolder
from raytag.transfer.measure import SavedModel, measure
from raytag.transfer.prepare import prepare_transfer
from raytag.transfer.target import Target
from raytag.transfer.worker import WideJob, WideRun

CPU = torch.device("cpu")


def saved_models(study, plan, path):
    """Train the wide model of a plan, and return it and the narrow one."""
    folder = WideFolder(path / plan.trial.name)
    folder.prepare(plan)
    WideRun(WideJob(plan.experiment, plan.trial, folder), CPU, WHOLE).run()
    return {
        "narrow": SavedModel(plan.study, study.checkpoint(plan.narrow)),
        "wide": SavedModel(plan.experiment, folder.checkpoint),
    }


def test_models_of_any_width_and_depth_are_measured_on_the_same_jets(finished, tmp_path):
    models = saved_models(finished, prepare_transfer(finished, Target(32, num_layers=3)), tmp_path)

    measured = measure(models, "test", CPU)

    narrow, wide = measured.models.values()
    assert measured.split == "test"
    assert len(narrow.losses) == len(wide.losses) == measured.num_jets
    assert narrow.metrics["objective"] == pytest.approx(np.log(4))  # untrained: readouts begin at zero
    assert wide.metrics["objective"] < narrow.metrics["objective"]
    assert narrow.metrics.keys() == wide.metrics.keys()
    assert {"auc_b_vs_light", "light_rejection_70", "light_rejection_70_stderr"} <= wide.metrics.keys()


def test_the_losses_are_those_of_the_objective(finished, plan, tmp_path):
    measured = measure(saved_models(finished, plan, tmp_path), "val", CPU)

    for model in measured.models.values():
        assert np.average(model.losses, weights=model.weights) == pytest.approx(model.metrics["objective"])


def test_a_narrow_model_that_held_a_fold_out_is_measured_on_the_jets_of_the_wide_one(study, tmp_path):
    settings = load_yaml(study.experiment).data
    settings["search"] |= {"folds": 2}
    study.experiment.write_text(dump_yaml(settings))
    save_perturbed(study.checkpoint(COMPLETE), study.checkpoint(f"{COMPLETE}-f0"), fold=0)
    models = saved_models(study, prepare_transfer(study, Target(32)), tmp_path)

    measured = measure(models, "val", CPU)

    difference = measured.difference("narrow", "wide").mean
    narrow, wide = measured.models.values()
    assert difference == pytest.approx(wide.metrics["objective"] - narrow.metrics["objective"])


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
