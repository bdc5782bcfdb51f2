import pytest
import torch
from pydantic import ValidationError
from toy_workload import ToyWorkload, toy_experiment

from raytag.config.experiment import TrainingConfig
from raytag.config.hyperparameters import Hyperparameters
from raytag.training.executors import Loop, Vmap
from raytag.training.gate_bench import open_bench
from raytag.training.precision import allow_tf32
from raytag.training.trial import Trial
from raytag.training.trial_group import TrialGroup
from raytag.workloads import open_workload

CPU = torch.device("cpu")
NUM_STEPS = 5


@pytest.fixture(scope="module")
def train(tagger_experiment):
    """Train two taggers with an executor, or the one that autocast asks for; return the group and all losses."""

    def run(executor=None, autocast="none"):
        training = {"num_steps": NUM_STEPS, "evaluate_every": NUM_STEPS, "batch_size": 24, "autocast": autocast}
        experiment = tagger_experiment(model={"num_layers": 2, "num_heads": 4}, training=training)
        group = TrialGroup(open_workload(experiment, CPU), 32, 2, executor=executor)
        for slot, dropout in enumerate((0.0, 0.1)):
            group.start(slot, Trial(f"t{slot}", 32, slot, Hyperparameters(lr=1e-2, dropout=dropout)))
        steps = [group.step() for _ in range(NUM_STEPS)]
        return group, torch.tensor([[list(step[slot].losses.values()) for slot in range(2)] for step in steps])

    return run


@pytest.mark.parametrize("executor", [Loop, Vmap])
def test_autocast_trains_what_float32_trains_within_bfloat16(train, executor):
    """Losses follow those of float32 within bfloat16's rounding (2⁻⁸), and are not equal to them."""
    group, found = train(executor(autocast="bfloat16"))
    _, expected = train(executor())

    assert found.isfinite().all()
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=0)
    for parameter in group.model(0).parameters():
        assert parameter.dtype == parameter.grad.dtype == torch.float32


def test_losses_under_autocast_are_float32(train):
    group, _ = train()

    for executor in (Loop("bfloat16"), Vmap(autocast="bfloat16")):
        losses = executor(group.workload, [group.model(0), group.model(1)], [group.workload.train_batch(0)] * 2)
        assert losses.totals.dtype == losses.tasks.dtype == torch.float32
        # Sums of bfloat16 numbers have more than its 8 bits; a loss computed in it has not.
        assert not torch.equal(losses.tasks, losses.tasks.bfloat16().float())


def test_a_group_runs_its_rows_as_training_autocast_says(train):
    _, default = train(autocast="bfloat16")
    _, explicit = train(Loop("bfloat16"))

    assert torch.equal(default, explicit)


def test_the_gates_run_in_float64_without_autocast():
    experiment = toy_experiment(training={"autocast": "bfloat16"})

    group = TrialGroup(open_bench(ToyWorkload.open, experiment), 32, slots=1)

    assert group.executor == Loop(autocast="none")
    assert {parameter.dtype for parameter in group.model(0).parameters()} == {torch.float64}


def test_autocast_from_float64_is_refused():
    with pytest.raises(ValidationError, match="autocast bfloat16 needs precision float32, found float64"):
        TrainingConfig(autocast="bfloat16", precision="float64")


@pytest.mark.parametrize(("is_allowed", "precision"), [(True, "tf32"), (False, "ieee")])
def test_tf32_is_said_either_way(is_allowed, precision):
    operations = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)
    before = [operation.fp32_precision for operation in operations]
    try:
        allow_tf32(is_allowed)
        assert {operation.fp32_precision for operation in operations} == {precision}
    finally:
        for operation, value in zip(operations, before, strict=True):
            operation.fp32_precision = value
