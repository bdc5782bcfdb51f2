from raytag.config.hyperparameters import Hyperparameters
from raytag.records import Cost, TrialRecord, TrialState


def record(history):
    return TrialRecord("w32-0000", 32, 0, 1, TrialState.COMPLETE, {}, Hyperparameters(), history)


def test_costs_add_up():
    assert Cost(1e9, 2.0) + Cost(5e8, 1.0) == Cost(1.5e9, 3.0)


def test_a_trial_costs_what_its_last_report_says():
    history = {10: {"train_flops": 1e9, "seconds": 1.0}, 20: {"train_flops": 2e9, "seconds": 2.5}}

    assert record(history).cost == Cost(2e9, 2.5)


def test_a_trial_without_a_report_cost_nothing_yet():
    assert record({}).cost == Cost()
