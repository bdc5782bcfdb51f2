"""The baseline does raytag's work: same losses, same gradients, same trained weights."""

import pytest
import torch

from benchmarks import plain
from benchmarks.job import Job
from benchmarks.padded import task_losses
from raytag.config.space import SearchSpace
from raytag.training.trial_group import TrialGroup


@pytest.fixture(scope="module", params=[{}, {"head_width": 8}], ids=str)
def job(request, tagger_experiment):
    experiment = tagger_experiment(
        data={"num_train_jets": 640},
        model={"num_layers": 2, **request.param},
        # AdamW turns the rounding of gradients near eps into steps: a large eps keeps two equal trainings together.
        hyperparameters={"eps": 1e-4},
        training={"num_steps": 12, "batch_size": 64, "evaluate_every": 6, "precision": "float64"},
        search={"widths": (32, 64), "trials_per_width": 2, "sampler": "random"},
    )
    space = {
        name: {"distribution": "log_uniform", "low": low, "high": high, "transfer": "yes"}
        for name, low, high in [("lr", 1e-3, 1e-2), ("alpha_output", 0.5, 4), ("weight_decay", 1e-3, 1e-1)]
    }
    return Job.open(experiment, SearchSpace(space))


@pytest.fixture(scope="module")
def handed(job, tmp_path_factory):
    """The folder that the baseline reads."""
    folder = tmp_path_factory.mktemp("job") / "job"
    job.write(folder)
    return folder


@pytest.fixture(scope="module")
def description(handed):
    return plain.read_job(handed)


def test_padded_losses_and_gradients_equal_the_packed_ones(job, handed, description):
    trial = job.trials()[0]
    packed = TrialGroup(job.workload, trial.width, slots=1)
    packed.start(0, trial)
    model = packed.model(0)
    with torch.no_grad():  # readouts and queries start at zero and would hide what lies behind them
        generator = torch.Generator().manual_seed(3)
        for parameter in model.parameters():
            parameter.normal_(std=0.3, generator=generator)
    state = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    expected = job.workload.loss_terms(model, job.workload.train_batch(0)).losses
    (model.loss_weights * expected).sum().backward()

    padded = plain.build_model(description, trial.width, trial.hyperparameters.alpha_output, torch.float64)
    padded.load_state_dict(state)
    jets = plain.read_jets(description["data"], "train", torch.float64)
    batch = plain.take(jets, plain.read_order(handed)[0])
    weights = plain.read_class_weights(description["data"], torch.float64)
    losses = task_losses(padded, batch, weights)
    (model.loss_weights * losses).sum().backward()

    torch.testing.assert_close(losses, expected, rtol=1e-10, atol=0)
    gradients = {name: parameter.grad for name, parameter in padded.named_parameters()}
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-10, atol=1e-12, msg=name)


def test_baseline_trains_a_trial_to_the_same_losses(job, handed, description):
    for trial in job.trials()[::2]:  # one of each width
        group = TrialGroup(job.workload, trial.width, slots=1)
        group.start(0, trial)
        objectives = []
        for step in range(1, 13):
            group.step()
            if step % 6 == 0:
                objectives.append(group.evaluate(0)["objective"])
        validations = plain.Training(description, handed, trial.name).run()
        assert [validation.objective for validation in validations] == pytest.approx(objectives, rel=1e-10)
