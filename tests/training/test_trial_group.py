"""What a group does with its slots; that trials do not disturb each other is tests/training/test_independence.py."""

import math
from dataclasses import replace

import pytest
from row_states import same_bits

from raytag.config.hyperparameters import Hyperparameters
from raytag.training.executors import Loop
from raytag.training.trial import Trial
from raytag.training.trial_group import compaction_target

NUM_STEPS = 50

# Everything that may differ between neighbours does.
TRIALS = [
    Trial("a", 32, 1, Hyperparameters(lr=1e-2, weight_decay=0.1)),
    Trial("b", 32, 2, Hyperparameters(lr=3e-2, beta1=0.8, beta2=0.95, clip_norm=0.3, warmup_fraction=0.3)),
    Trial("c", 32, 3, Hyperparameters(lr=5e-3, dropout=0.2, init_scale=0.5, alpha_output=4.0, eps=1e-4)),
    Trial("d", 32, 4, Hyperparameters(lr=2e-2, clip_norm=0.1, dropout=0.1, alpha_attention=3.0, label_smoothing=0.1)),
]


def run(group, slots, num_steps=NUM_STEPS):
    """Take steps; return each slot's losses."""
    losses = {slot: [] for slot in slots}
    for _ in range(num_steps):
        for slot, result in group.step().items():
            losses[slot].append(result.loss)
    return losses


@pytest.fixture(scope="module")
def solo_runs():
    return {}


@pytest.fixture
def solo(make_group, solo_runs):
    """Losses and final state of a trial alone in a group of one."""

    def train(trial, precision="float64"):
        if (trial.name, precision) not in solo_runs:
            group = make_group(trial.width, precision=precision)
            group.start(0, trial)
            solo_runs[trial.name, precision] = run(group, [0])[0], group.state(0)
        return solo_runs[trial.name, precision]

    return train


@pytest.fixture(params=["float64", "float32"])
def precision(request):
    return request.param


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2)])
def test_a_trial_in_a_group_equals_its_solo_run_bit_for_bit_in_any_slot(make_group, solo, precision, order):
    group = make_group(slots=4, precision=precision)
    for slot, index in enumerate(order):
        group.start(slot, TRIALS[index])

    losses = run(group, range(4))

    for slot, index in enumerate(order):
        solo_losses, solo_state = solo(TRIALS[index], precision=precision)
        assert losses[slot] == solo_losses, TRIALS[index].name
        assert same_bits(group.state(slot), solo_state), TRIALS[index].name


def test_the_state_of_a_failed_row_is_that_of_its_last_good_step(make_group):
    def breaks_at_ten(workload, models, batches):
        losses = Loop()(workload, models, batches)
        if group.own_step(0) == 10:
            losses.totals[0] = math.nan
        return losses

    group = make_group(executor=breaks_at_ten)
    group.start(0, TRIALS[0])
    run(group, [0])
    healthy = make_group()
    healthy.start(0, TRIALS[0])
    run(healthy, [0], 10)

    assert same_bits(group.state(0), healthy.state(0))


def test_a_trial_resumes_from_its_state_bit_for_bit(make_group, solo, precision):
    group = make_group(slots=2, precision=precision)
    group.start(0, TRIALS[2])
    before = run(group, [0], 23)[0]
    state = group.state(0)
    run(group, [0], 5)  # a state is a copy: what happens later does not change it

    other = make_group(slots=4, precision=precision)
    other.start(0, TRIALS[1])
    other.start(3, state.trial, state)
    after = run(other, [0, 3])[3]

    losses, final = solo(TRIALS[2], precision=precision)
    assert before + after == losses
    assert same_bits(other.state(3), final)


def test_a_trial_takes_its_steps_and_no_more(make_group):
    group = make_group(slots=2, num_steps=5)
    group.start(0, TRIALS[0])
    results = [group.step()[0] for _ in range(5)]

    assert [result.step for result in results] == [1, 2, 3, 4, 5]
    assert [result.is_finished for result in results] == [False] * 4 + [True]
    assert group.step() == {}
    assert group.trials == {0: TRIALS[0]}


def test_a_trial_may_have_a_length_of_its_own(make_group):
    """Its schedule ends with it: it is what a group of trials of that length trains."""
    short = replace(TRIALS[1], num_steps=5)
    group, expected = make_group(slots=2, num_steps=8), make_group(num_steps=5)
    group.start(0, short)
    group.start(1, TRIALS[0])
    expected.start(0, TRIALS[1])

    losses = run(group, [0, 1], 8)

    assert losses[0] == run(expected, [0], 5)[0]
    assert len(losses[1]) == 8
    assert not group.is_running(0)
    assert same_bits(group.state(0), expected.state(0))


@pytest.mark.parametrize(
    ("num_trials", "num_slots", "expected"),
    [(32, 32, 32), (17, 32, 32), (16, 32, 16), (3, 32, 4), (1, 32, 1), (0, 8, 1), (4, 12, 6), (3, 12, 3), (1, 1, 1)],
)
def test_a_group_is_halved_as_often_as_its_trials_fit(num_trials, num_slots, expected):
    assert compaction_target(num_trials, num_slots) == expected


def test_evaluation_neither_trains_nor_drops(make_group):
    group = make_group()
    group.start(0, replace(TRIALS[2], hyperparameters=Hyperparameters(dropout=0.5)))
    run(group, [0], 3)
    before = group.state(0)

    first, second = group.evaluate(0), group.evaluate(0)

    assert first == second
    assert {"loss", "objective", "objective_stderr"} <= first.keys()
    assert same_bits(before, group.state(0))
    assert group.model(0).training


def test_dropout_masks_are_keyed_by_the_trials_seed_and_step(make_group):
    def keys(trial_seed, slot):
        group = make_group(slots=2)
        drawn = []
        group.model(slot).dropout.set_key = drawn.append
        group.start(slot, Trial("t", 32, trial_seed, Hyperparameters(dropout=0.1)))
        run(group, [slot], 10)
        return drawn

    one, two = keys(1, slot=0), keys(2, slot=0)

    assert one == keys(1, slot=1)
    assert len({*one, *two}) == 20


def test_task_losses_are_named_and_unweighted(make_group):
    group = make_group()
    group.start(
        0, Trial("t", 32, 1, Hyperparameters(loss_weight_jet_classification=2.0, loss_weight_track_origin=0.25))
    )

    result = group.step()[0]

    assert result.loss == pytest.approx(2.0 * result.losses["classification"] + 0.25 * result.losses["regression"])
    assert result.losses["classification"] == pytest.approx(math.log(3))  # readouts start at zero


def test_gradients_stay_views_of_the_groups_storage(make_group):
    group = make_group(slots=2)
    group.start(1, TRIALS[0])
    run(group, [1], 3)

    row = group._storage.rows[1]
    for name, parameter in group.model(1).named_parameters():
        assert parameter.data_ptr() == group.layout.view(row.parameters, name).data_ptr()
        assert parameter.grad.data_ptr() == group.layout.view(row.gradients, name).data_ptr()


def test_a_validation_that_raises_leaves_the_slot_fit_for_training(make_group, monkeypatch):
    group = make_group()
    group.start(0, TRIALS[0])
    monkeypatch.setattr(group.workload, "evaluate", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        group.evaluate(0)

    assert group.model(0).training
