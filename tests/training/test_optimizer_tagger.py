"""mup's own MuAdamW trains the real tagger alone as a group does, with both rules of widening heads.

The optimizer's code is mup's; its argument ``eps`` is ours, one for each parameter: mup does not scale it.
"""

import pytest
import torch
from mup_oracle import mu_adamw, oracle_losses

from raytag.config.hyperparameters import Hyperparameters
from raytag.tagging.workload import TaggingWorkload
from raytag.training.trial import Trial
from raytag.training.trial_group import TrialGroup

WIDTH, NUM_STEPS = 64, 20
SETTINGS = Hyperparameters(lr=5e-3, weight_decay=0.1, beta1=0.8, beta2=0.95, alpha_output=2.0, alpha_attention=0.5)


@pytest.mark.parametrize("heads", [{"num_heads": 8}, {"head_width": 8}], ids=str)
def test_the_tagger_trains_as_with_mups_own_optimizer(tagger_experiment, heads):
    training = {"num_steps": NUM_STEPS, "evaluate_every": NUM_STEPS, "batch_size": 16}
    training |= {"schedule": "constant", "precision": "float64"}
    workload = TaggingWorkload.open(tagger_experiment(model=heads, training=training), torch.device("cpu"))
    trial = Trial("solo", WIDTH, 3, SETTINGS)
    group = TrialGroup(workload, WIDTH, slots=1)
    group.start(0, trial)

    losses = [group.step()[0].loss for _ in range(NUM_STEPS)]

    assert losses == pytest.approx(oracle_losses(workload, trial, mu_adamw, NUM_STEPS), rel=1e-9)
    assert min(losses) < losses[0]
