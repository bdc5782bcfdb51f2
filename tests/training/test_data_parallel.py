from dataclasses import replace

import pytest
import torch
from ranks import run_ranks, train
from row_states import pairs
from toy_workload import ToyWorkload, toy_experiment

from raytag.config.hyperparameters import Hyperparameters
from raytag.training.trial import Trial
from raytag.training.trial_group import TrialGroup
from raytag.training.workload import WHOLE, Shard
from raytag.workloads import open_workload

CPU = torch.device("cpu")
CLIP_NORM = 0.05  # below every gradient norm: the clip acts at each step
SETTINGS = Hyperparameters(lr=1e-2, weight_decay=1e-2, clip_norm=CLIP_NORM, loss_weight_track_origin=0.3)


def toy():
    # 33 events: the two ranks have shards of different sizes
    training = {"num_steps": 10, "evaluate_every": 10, "batch_size": 33, "precision": "float64"}
    return "toy", toy_experiment(training=training), Trial("toy", 64, 7, SETTINGS)


def tagging(tagger_experiment, **training):
    training = {"num_steps": 6, "evaluate_every": 6, "batch_size": 33, "precision": "float64"} | training
    experiment = tagger_experiment(model={"num_heads": 4}, training=training)
    return "tagging", experiment, Trial("tagger", 64, 7, SETTINGS)


@pytest.fixture(scope="module", params=["toy", "tagging"])
def runs(request, tagger_experiment):
    """One training of the same global batches by one process and by two: (figures, state) of each process."""
    task = toy() if request.param == "toy" else tagging(tagger_experiment)
    return train(WHOLE, *task), run_ranks(train, 2, *task)


def test_two_ranks_take_the_steps_of_one_process(runs):
    (figures, state), ranks = runs

    for other_figures, other in ranks:
        assert torch.tensor(other_figures).allclose(torch.tensor(figures), rtol=1e-12, atol=0)
        for _, found, expected in pairs(other, state):
            torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


def test_a_shard_without_a_pair_of_tracks_to_match_changes_no_loss(tagger_experiment):
    task = tagging(tagger_experiment, batch_size=2, data_seed=1)
    experiment = task[1]
    shards = [open_workload(experiment, CPU, Shard(rank, 2)) for rank in range(2)]
    matches = [[shard.train_batch(step).pairs.is_match.sum() for shard in shards] for step in range(6)]
    assert any(min(step) == 0 < max(step) for step in matches)

    (figures, _), ranks = train(WHOLE, *task), run_ranks(train, 2, *task)

    for other_figures, _ in ranks:
        assert torch.tensor(other_figures).allclose(torch.tensor(figures), rtol=1e-12, atol=0)


def test_the_clip_acts_on_the_norm_of_the_whole_batch(runs):
    (figures, _), _ = runs

    assert min(norm for _, norm in figures) > CLIP_NORM


def test_all_ranks_hold_the_same_bits(runs):
    _, (first, second) = runs

    assert first[0] == second[0]
    assert all(torch.equal(tensor, second[1].parameters[name]) for name, tensor in first[1].parameters.items())


def test_ranks_draw_dropout_masks_of_their_own():
    _, experiment, trial = toy()
    dropping = replace(trial, hyperparameters=SETTINGS.model_copy(update={"dropout": 0.5}))

    losses = [first_loss(experiment, dropping, stream) for stream in (0, 0, 1)]

    assert losses[0] == losses[1] != losses[2]


def first_loss(experiment, trial, stream):
    """The loss of a trial's first step on the whole batch, with the dropout masks of a stream."""
    group = TrialGroup(ToyWorkload(experiment), trial.width, slots=1, dropout_stream=stream)
    group.start(0, trial)
    group.model(0).classify.weight.data[0] += 0.1  # readouts begin at zero, where no mask shows
    return group.step()[0].loss
