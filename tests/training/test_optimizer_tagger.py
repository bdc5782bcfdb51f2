"""mup's own MuAdamW, unmodified, trains the real tagger alone as a group does, with both rules of widening heads."""

import pytest
import torch
from fixture_jets import data_of
from mup_oracle import mu_adamw, oracle_losses

from raytag.config.experiment import Experiment, SearchConfig, TaggerConfig, TrainingConfig
from raytag.config.hyperparameters import Hyperparameters
from raytag.tagging.workload import TaggingWorkload
from raytag.training.trial import Trial
from raytag.training.trial_group import TrialGroup

WIDTH, NUM_STEPS = 64, 20
SETTINGS = Hyperparameters(lr=5e-3, weight_decay=0.1, beta1=0.8, beta2=0.95, alpha_output=2.0, alpha_attention=0.5)


@pytest.fixture
def workload(jets, tmp_path_factory):
    def open_with(**heads):
        experiment = Experiment(
            name="oracle",
            data=data_of(jets, tmp_path_factory.getbasetemp() / "gate-cache"),
            model=TaggerConfig(num_layers=1, **heads),
            training=TrainingConfig(
                num_steps=NUM_STEPS, evaluate_every=NUM_STEPS, batch_size=16, schedule="constant", precision="float64"
            ),
            search=SearchConfig(space="space.yaml"),
        )
        return TaggingWorkload.open(experiment, torch.device("cpu"))

    return open_with


@pytest.mark.parametrize("heads", [{"num_heads": 8}, {"head_width": 8}], ids=str)
def test_the_tagger_trains_as_with_mups_own_optimizer(workload, heads):
    trial = Trial("solo", WIDTH, 3, SETTINGS)
    group = TrialGroup(workload(**heads), WIDTH, slots=1)
    group.start(0, trial)

    losses = [group.step()[0].loss for _ in range(NUM_STEPS)]

    assert losses == pytest.approx(oracle_losses(group.workload, trial, mu_adamw, NUM_STEPS), rel=1e-9)
    assert min(losses) < losses[0]
