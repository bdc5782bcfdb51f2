import math
from dataclasses import asdict, replace

import pytest
import torch
from finished_study import make_study
from ranks import run_ranks, train_wide
from row_states import pairs, same_bits

from raytag.errors import StudyError
from raytag.training import checkpoint
from raytag.training.algorithms import ALGORITHMS
from raytag.training.workload import WHOLE
from raytag.transfer.folder import WideFolder
from raytag.transfer.prepare import prepare_transfer
from raytag.transfer.source import Source
from raytag.transfer.target import Target
from raytag.transfer.warm_start import narrow_model, plan_warm_start, write_starts
from raytag.transfer.worker import WideJob, WideRun

CPU = torch.device("cpu")


def job_in(path, plan):
    folder = WideFolder(path)
    folder.prepare(plan)
    return WideJob(plan.experiment, plan.trial, folder)


class PowerCutError(Exception):
    pass


@pytest.fixture
def interrupted(tmp_path, plan, monkeypatch):
    """A run that broke off at step 25, five steps after its last checkpoint."""
    job = job_in(tmp_path / "interrupted", plan)
    run = WideRun(job, CPU, WHOLE)
    record = run._record

    def cut(result):
        record(result)
        if result.step == 25:
            raise PowerCutError

    monkeypatch.setattr(run, "_record", cut)
    with pytest.raises(PowerCutError):
        run.run()
    return job


def test_a_run_goes_on_bit_for_bit_from_its_last_checkpoint(interrupted, tmp_path, plan):
    assert checkpoint.load(interrupted.folder.checkpoint).state.step == 20
    other = job_in(tmp_path / "undisturbed", plan)

    WideRun(interrupted, CPU, WHOLE).run()
    WideRun(other, CPU, WHOLE).run()

    resumed, expected = (checkpoint.load(job.folder.checkpoint) for job in (interrupted, other))
    assert interrupted.folder.read_progress().first_step == 20
    assert resumed.state.step == 30
    assert list(resumed.history) == [10, 20, 30]
    assert same_bits(resumed.state, expected.state)


@pytest.mark.parametrize("optimizer", ["lion", "muon", "sgd"])
def test_a_wide_model_trains_with_the_optimizer_of_its_study(tmp_path, plan, optimizer):
    training = plan.experiment.training.model_copy(update={"optimizer": optimizer})
    plan = replace(plan, experiment=plan.experiment.model_copy(update={"training": training}))
    job = job_in(tmp_path / "run", plan)

    WideRun(job, CPU, WHOLE).run()

    saved = checkpoint.load(job.folder.checkpoint)
    assert saved.table.optimizer == optimizer
    assert saved.state.step == 30
    objectives = [metrics["val/objective"] for metrics in saved.history.values()]
    assert objectives[-1] < objectives[0]


def test_progress_follows_the_validations(tmp_path, plan):
    job = job_in(tmp_path / "run", plan)

    WideRun(job, CPU, WHOLE).run()

    progress = job.folder.read_progress()
    assert (progress.step, list(progress.history), progress.failure) == (30, [10, 20, 30], None)
    assert {"val/objective", "val/auc_b_vs_light", "train/loss", "seconds"} <= progress.history[30].keys()


def test_a_training_that_diverges_stops_and_says_why(tmp_path, plan):
    job = job_in(tmp_path / "run", plan)
    wild = replace(job.trial, hyperparameters=job.trial.hyperparameters.model_copy(update={"lr": 1e30}))

    WideRun(replace(job, trial=wild), CPU, WHOLE).run()

    progress = job.folder.read_progress()
    assert "not finite at step" in progress.failure
    assert "Lower lr (now 1e+30)" in progress.failure
    assert progress.loss is None


def test_workers_that_find_different_checkpoints_stop(interrupted, tmp_path, plan):
    other = job_in(tmp_path / "another_disk", plan)

    errors = run_ranks(train_wide, 2, interrupted, other)

    assert all(isinstance(error, StudyError) for error in errors)
    assert "different checkpoints, of steps [0, 20]" in str(errors[0])


def test_a_warm_started_run_begins_with_its_weights_and_goes_on_bit_for_bit(finished, tmp_path, plan, monkeypatch):
    warm = plan_warm_start(plan, "tiny", narrow_model(Source(finished, plan.narrow)))
    folders = [WideFolder(tmp_path / name) for name in ("interrupted", "undisturbed")]
    for folder in folders:
        folder.prepare(warm.wide)
        folder.continued.prepare(warm.continued)
        write_starts(warm, folder, CPU)
    jobs = [WideJob(warm.wide.experiment, warm.wide.trial, folder, folder.start) for folder in folders]
    with monkeypatch.context() as patch:
        patch.setattr(WideRun, "_validate", cut_after(WideRun._validate, 20))
        with pytest.raises(PowerCutError):
            WideRun(jobs[0], CPU, WHOLE).run()

    for job in jobs:
        WideRun(job, CPU, WHOLE).run()

    begun = checkpoint.load(folders[0].start).state
    assert same_bits(begun, checkpoint.load(folders[1].start).state)
    resumed, expected = (checkpoint.load(folder.checkpoint).state for folder in folders)
    assert folders[0].read_progress().first_step == 20
    assert same_bits(resumed, expected)
    fresh = job_in(tmp_path / "fresh", plan)
    WideRun(fresh, CPU, WHOLE).run()
    assert not same_bits(checkpoint.load(fresh.folder.checkpoint).state, expected)


def cut_after(validate, step):
    def cut(run, result):
        validate(run, result)
        if result.step == step:
            raise PowerCutError

    return cut


def test_two_workers_train_another_depth_batch_and_length_as_one_does(finished, tmp_path):
    plan = prepare_transfer(finished, Target(32, num_layers=2, batch_size=49, num_steps=20))
    training = plan.experiment.training.model_copy(update={"precision": "float64"})
    plan = replace(plan, experiment=plan.experiment.model_copy(update={"training": training}))
    alone, together = job_in(tmp_path / "alone", plan), job_in(tmp_path / "together", plan)

    WideRun(alone, CPU, WHOLE).run()
    assert run_ranks(train_wide, 2, together) == [None, None]

    expected, found = (checkpoint.load(job.folder.checkpoint) for job in (alone, together))
    assert found.state.step == 20
    for _, tensor, same in pairs(found.state, expected.state):
        torch.testing.assert_close(tensor, same, rtol=1e-10, atol=1e-12)
    costs = [job.folder.read_progress().cost for job in (alone, together)]
    assert costs[1].train_flops == pytest.approx(costs[0].train_flops, rel=0.05)
    assert found.history[20]["worker_seconds"] == pytest.approx(2 * found.history[20]["seconds"])


def test_values_for_another_batch_and_length_reach_the_optimizer(tmp_path, jets, monkeypatch):
    study = make_study(tmp_path, jets, schedule="constant")
    plan = prepare_transfer(study, Target(32, batch_size=64, num_steps=60))
    taken = []

    def spy(state, settings):
        taken.append((state.segment, settings))
        adamw(state, settings)

    adamw = ALGORITHMS["adamw"]
    monkeypatch.setitem(ALGORITHMS, "adamw", spy)
    run = WideRun(job_in(tmp_path / "run", plan), CPU, WHOLE)
    run.run()

    tuned, layout = plan.source.hyperparameters, run._group.layout
    # Twice the batch and four times the jets: lr and decay √2 / √4, 1 - β 2 / 4, ε √4 / √2 times what they were.
    rescaled = {
        "lr": tuned.lr / math.sqrt(2),
        "weight_decay": tuned.weight_decay / math.sqrt(2),
        "beta1": 1 - (1 - tuned.beta1) / 2,
        "beta2": 1 - (1 - tuned.beta2) / 2,
        "eps": tuned.eps * math.sqrt(2),
    }
    # Twice the base width: muP's own factors of a matrix from width to width, a first layer and a readout's bias.
    factors = {
        "encoder.layers.0.feed_up.weight": {"lr": 1 / 2, "weight_decay": 2, "eps": 1 / 2},
        "init_net.first.weight": {"eps": 1 / 2},
        "jet_classification.tail.readout.bias": {},
    }
    for name, of_parameter in factors.items():
        expected = {key: value * of_parameter.get(key, 1) for key, value in rescaled.items()}
        found = [asdict(s) for segment, s in taken if segment.start <= layout.offsets[name] < segment.stop]
        assert len(found) == 60
        assert all(settings == pytest.approx(expected, rel=1e-12) for settings in found), name
