"""Independence is the law: what becomes of a trial depends on the trial alone, in every executor.

n3fit's stacked trials were reverted because they disturbed each other. Here eight trials that differ in everything that
may differ inside a group are held against their solo runs (a group of one, run by the loop) in float64, where equal
programs agree to rounding and a leak of any size shows.
"""

import math
from dataclasses import replace

import pytest
import torch
from row_states import largest_difference, same_bits
from toy_workload import ToyWorkload, toy_experiment

from raytag.config.hyperparameters import Hyperparameters
from raytag.training import trial_group
from raytag.training.executors import Loop, Vmap
from raytag.training.trial import Trial
from raytag.training.trial_group import TrialGroup
from raytag.workloads import open_workload

CPU = torch.device("cpu")
NUM_STEPS, NUM_SLOTS, NUM_FOLDS = 100, 8, 4
TOLERANCE = 1e-9


def trial(index, *, fold=None, num_steps=None, **settings):
    return Trial(f"t{index}", 32, index, Hyperparameters(**settings), fold, num_steps)


TRIALS = [
    trial(0, lr=1e-2, weight_decay=0.1),
    trial(1, lr=7e-3, beta1=0.8, beta2=0.95, clip_norm=0.3, warmup_fraction=0.3),
    trial(2, lr=5e-3, dropout=0.2, init_scale=0.5, alpha_output=4.0, eps=1e-4, fold=0),
    trial(3, lr=3e-3, clip_norm=0.1, dropout=0.1, alpha_attention=3.0, label_smoothing=0.1),
    trial(4, lr=1e-2, loss_weight_jet_classification=0.2, loss_weight_track_origin=2.0, fold=3),
    trial(5, lr=8e-3, beta1=0.0, weight_decay=1.0, warmup_fraction=0.0, num_steps=60),
    trial(6, lr=4e-3, init_scale=2.0, alpha_output=0.3, clip_norm=5.0, dropout=0.5, num_steps=150),
    trial(7, lr=1.5e-2, loss_weight_track_origin=0.0, eps=1e-6, beta2=0.9, fold=1),
]
NEWCOMER = trial(8, lr=6e-3, dropout=0.3, clip_norm=0.2, fold=2)
HOPELESS = replace(TRIALS[3], name="hopeless", hyperparameters=Hyperparameters(lr=1e300))

EXECUTORS = {"loop": Loop, "vmap": Vmap}


def toy_group(executor=None, slots=NUM_SLOTS):
    training = {"num_steps": NUM_STEPS, "evaluate_every": NUM_STEPS, "precision": "float64", "batch_size": 32}
    experiment = toy_experiment(training=training, search={"folds": NUM_FOLDS})
    return TrialGroup(ToyWorkload(experiment), 32, slots, executor=executor)


def start(group, trials):
    """Put trials into slots, {slot: trial}; return the group."""
    for slot, one in trials.items():
        group.start(slot, one)
    return group


def run(group, num_steps=NUM_STEPS):
    """Take steps; return the losses of every trial by name."""
    names = {slot: one.name for slot, one in group.trials.items()}
    losses = {name: [] for name in names.values()}
    for _ in range(num_steps):
        for slot, result in group.step().items():
            losses[names[slot]].append(result.loss)
    return losses


def join(*runs):
    """Put the losses of a run's parts together."""
    return {name: [loss for part in runs for loss in part.get(name, [])] for name in {n for part in runs for n in part}}


def slot_of(group, name):
    return next(slot for slot, one in group.trials.items() if one.name == name)


def assert_equals_solo(group, losses, solo, names=None):
    """Hold trials of a group against their solo runs."""
    for name in names or [one.name for one in group.trials.values()]:
        expected_losses, expected = solo(name)
        found = torch.tensor(losses[name], dtype=torch.float64)
        torch.testing.assert_close(found, torch.tensor(expected_losses, dtype=torch.float64), rtol=TOLERANCE, atol=0)
        assert largest_difference(group.state(slot_of(group, name)), expected) < TOLERANCE, name


def assert_same_bits(group, losses, others, other_losses, names):
    """Hold trials of a group against the same trials in another group."""
    for name in names:
        assert losses[name] == other_losses[name], name
        assert same_bits(group.state(slot_of(group, name)), others.state(slot_of(others, name))), name


@pytest.fixture(scope="module")
def solo():
    """Losses and state of a trial alone, after at most NUM_STEPS steps."""
    known = {}

    def train(name):
        if name not in known:
            group = start(toy_group(slots=1), {0: next(one for one in [*TRIALS, NEWCOMER] if one.name == name)})
            known[name] = run(group)[name], group.state(0)
        return known[name]

    return train


@pytest.fixture(scope="module", params=EXECUTORS)
def executor(request):
    return EXECUTORS[request.param]


@pytest.fixture(scope="module")
def undisturbed(executor):
    """All eight trials side by side from beginning to end."""
    group = start(toy_group(executor()), dict(enumerate(TRIALS)))
    return group, run(group)


def test_the_trials_are_really_different(solo):
    assert len({round(solo(one.name)[0][-1], 3) for one in TRIALS}) == len(TRIALS)
    assert [solo(one.name)[1].step for one in TRIALS] == [NUM_STEPS] * 5 + [60] + [NUM_STEPS] * 2


def test_eight_trials_equal_their_solo_runs(undisturbed, solo):
    assert_equals_solo(*undisturbed, solo)


@pytest.mark.parametrize("slots", [(7, 2, 5, 0, 3, 6, 1, 4), (0, None, 3, None, 1, 5, None, 2), (2, 5, 1), (4,)])
def test_a_trial_does_not_depend_on_its_slot_or_neighbours(executor, undisturbed, solo, slots):
    """A permutation, some with gaps, and one alone in the group; slots[i] is the place of trial i."""
    group = start(toy_group(executor()), {slot: one for slot, one in zip(slots, TRIALS) if slot is not None})  # noqa: B905

    losses = run(group)

    assert_equals_solo(group, losses, solo)
    assert_same_bits(group, losses, *undisturbed, losses)


@pytest.mark.parametrize("neighbour", ["healthy", "none"])
def test_a_trial_that_diverges_leaves_the_others_bit_equal(executor, undisturbed, neighbour):
    """Bit-equal to the run where the slot holds a healthy trial, and to the run where it is empty."""
    others = [one for one in TRIALS if one is not TRIALS[3]]
    group = start(toy_group(executor()), {one.seed: one for one in others} | {3: HOPELESS})
    losses = run(group)
    expected = undisturbed
    if neighbour == "none":
        without = start(toy_group(executor()), {one.seed: one for one in others})
        expected = without, run(without)

    assert "not finite at step 1 " in group.failure(3)
    assert "Lower lr (now 1e+300)" in group.failure(3)
    assert all(torch.isfinite(value).all() for value in group.state(3).parameters.values())
    assert_same_bits(group, losses, *expected, [one.name for one in others])


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_gradient_that_is_no_number_stops_its_row_alone(executor, undisturbed, poison):
    """The loss can be finite and a gradient not (√0, overflow): one poisoned element is enough."""
    calls = []

    class Poisoning:
        run = executor()

        def __call__(self, workload, models, batches):
            losses = self.run(workload, models, batches)
            calls.append(len(models))
            if len(calls) == 10:
                models[1].feed.weight.grad[3, 3] = poison
            return losses

    group = start(toy_group(Poisoning()), dict(enumerate(TRIALS)))
    losses = run(group)

    assert calls == [8] * 10 + [7] * 50 + [6] * 40
    assert group.failure(1).startswith("gradient norm not finite at step 9 (loss ")
    assert group.own_step(1) == 9
    assert_same_bits(group, losses, *undisturbed, [one.name for one in TRIALS if one is not TRIALS[1]])


def test_early_stop_refill_and_compaction_change_nothing_for_the_rest(executor, undisturbed, solo):
    """Two trials are stopped, a newcomer starts at its own step 0, three more leave, the group shrinks to four."""
    group = start(toy_group(executor()), dict(enumerate(TRIALS)))
    parts = [run(group, 20)]
    group.free(1)
    group.free(6)
    parts.append(run(group, 10))
    assert group.free_slots == [1, 6]
    group.start(1, NEWCOMER)
    parts.append(run(group, 30))
    for slot in (2, 4, 5):
        group.free(slot)
    moved = group.compact(4)
    parts.append(run(group, 70))

    assert moved == {0: 0, 1: 1, 3: 2, 7: 3}
    losses = join(*parts)
    assert_same_bits(group, losses, *undisturbed, ["t0", "t3", "t7"])
    assert_equals_solo(group, losses, solo, ["t0", "t3", "t7", "t8"])


def test_a_copied_row_changes_nothing_for_the_rest(executor, undisturbed):
    group = start(toy_group(executor()), dict(enumerate(TRIALS)))
    first = run(group, 40)
    perturbed = TRIALS[6].hyperparameters.model_copy(update={"lr": 1e-3})
    group.copy(source=0, target=6, hyperparameters=perturbed)
    losses = join(first, run(group, 60))

    assert group.trials[6] == replace(TRIALS[6], hyperparameters=perturbed)
    assert_same_bits(group, losses, *undisturbed, [one.name for one in TRIALS if one is not TRIALS[6]])


def test_a_copy_goes_on_as_the_source_would_with_its_settings(executor):
    """The same seed, settings and data from the same parameters, moments and step: the same training."""
    source, target = TRIALS[4], replace(TRIALS[4], name="copy", hyperparameters=TRIALS[1].hyperparameters)
    group = start(toy_group(executor()), {0: source, 5: target})
    run(group, 30)
    group.copy(source=0, target=5, hyperparameters=source.hyperparameters)
    losses = run(group, 30)

    assert losses["copy"] == pytest.approx(losses["t4"], rel=1e-12)


def clip_together(group, *, is_masked):
    """What ``clip_grad_norm_`` over a stack does: one norm for all rows, failed ones left out by a factor of 0."""

    def clip(row, _, clip_norm):
        norms = [float(trial_group.gradient_norm(one, group.layout)) for one in group._storage.rows]
        weights = [0.0 if is_masked and group.failure(slot) else 1.0 for slot in group.trials]
        together = math.sqrt(sum(weight * norm**2 for weight, norm in zip(weights, norms, strict=True)))
        if clip_norm is not None and not together <= clip_norm:
            row.gradients.mul_(clip_norm / together)

    return clip


def test_the_suite_fails_where_the_group_is_clipped_as_one_tensor(executor, solo, monkeypatch):
    group = start(toy_group(executor()), dict(enumerate(TRIALS)))
    monkeypatch.setattr(trial_group, "clip_gradients", clip_together(group, is_masked=False))

    losses = run(group)

    with pytest.raises(AssertionError):
        assert_equals_solo(group, losses, solo, ["t1"])
    assert_equals_solo(group, losses, solo, ["t0"])  # what has no clip is not touched


def test_the_suite_fails_where_a_failed_row_is_masked_by_a_factor_of_zero(executor, undisturbed, monkeypatch):
    """0 × NaN is NaN: the failed row would end every trial that clips."""
    group = start(toy_group(executor()), dict(enumerate(TRIALS)) | {3: HOPELESS})
    monkeypatch.setattr(trial_group, "clip_gradients", clip_together(group, is_masked=True))

    losses = run(group)

    with pytest.raises(AssertionError):
        assert_same_bits(group, losses, *undisturbed, ["t1"])
    assert group.failure(1) is not None


def test_the_suite_fails_where_rows_share_their_dropout_masks(executor, solo, monkeypatch):
    group = start(toy_group(executor()), dict(enumerate(TRIALS)))
    monkeypatch.setattr(TrialGroup, "_dropout_key", lambda *_: 1234567890123456789)

    losses = run(group)

    with pytest.raises(AssertionError):
        assert_equals_solo(group, losses, solo, ["t2"])
    assert_equals_solo(group, losses, solo, ["t0"])


def test_the_suite_fails_where_a_newcomer_joins_the_groups_step(executor, solo, monkeypatch):
    """With the neighbours' minibatches and their place in the schedule it is another training."""
    group = start(toy_group(executor()), {0: TRIALS[0]})
    run(group, 20)
    group.start(1, NEWCOMER)
    monkeypatch.setattr(TrialGroup, "own_step", lambda self, _: self._occupants[0].step)

    losses = run(group, 80)

    with pytest.raises(AssertionError):
        assert losses["t8"] == pytest.approx(solo("t8")[0][:80], rel=TOLERANCE)


# GN2 on the fixture's jets: fewer trials and steps, every operation of the real thing.

TAGGER_STEPS = 30
TAGGERS = [
    trial(0, lr=1e-2, weight_decay=0.1, clip_norm=0.3, fold=1),
    trial(1, lr=2e-2, dropout=0.2, beta1=0.8, alpha_output=3.0, loss_weight_vertexing=0.3),
    trial(2, lr=5e-3, dropout=0.1, alpha_attention=2.0, label_smoothing=0.1, init_scale=1.5, fold=0),
]


@pytest.fixture(scope="module")
def tagger_group(tagger_experiment):
    experiment = tagger_experiment(
        model={"num_layers": 2, "num_heads": 4},
        training={"num_steps": TAGGER_STEPS, "evaluate_every": TAGGER_STEPS, "batch_size": 24, "precision": "float64"},
        search={"folds": 2},
    )
    workload = open_workload(experiment, CPU)
    return lambda slots, executor=None: TrialGroup(workload, 32, slots, executor=executor)


@pytest.fixture(scope="module")
def tagger_solo(tagger_group):
    known = {}

    def train(name):
        if name not in known:
            group = start(tagger_group(1), {0: next(one for one in TAGGERS if one.name == name)})
            known[name] = run(group, TAGGER_STEPS)[name], group.state(0)
        return known[name]

    return train


@pytest.mark.parametrize("slots", [(0, 1, 2), (3, 0, 1)])
def test_taggers_equal_their_solo_runs(tagger_group, tagger_solo, executor, slots):
    group = start(tagger_group(4, executor()), dict(zip(slots, TAGGERS, strict=True)))

    assert_equals_solo(group, run(group, TAGGER_STEPS), tagger_solo)


def test_a_tagger_that_diverges_leaves_the_others_bit_equal(tagger_group, executor):
    healthy = start(tagger_group(4, executor()), dict(enumerate(TAGGERS)))
    disturbed = start(tagger_group(4, executor()), dict(enumerate(TAGGERS)) | {3: HOPELESS})

    losses, expected = run(disturbed, 10), run(healthy, 10)

    assert disturbed.failure(3) is not None
    assert_same_bits(disturbed, losses, healthy, expected, [one.name for one in TAGGERS])
