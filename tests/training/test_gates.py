"""Both gates together, and what they report."""

import json
import math
from dataclasses import replace
from typing import get_args

import pytest
import torch
from broken_rules import with_rules
from strict_json import read_strictly
from toy_workload import ToyWorkload, toy_experiment

from raytag.config.experiment import Optimizer, Schedule
from raytag.files import write_json
from raytag.mup.coordinates import Slope
from raytag.training import coordinate_gate, trial_group
from raytag.training.gates import run_gates
from raytag.training.trial_group import TrialGroup

OPTIMIZERS, SCHEDULES = get_args(Optimizer), get_args(Schedule)


@pytest.fixture(autouse=True)
def _few_seeds(monkeypatch):
    """The toy has no layers of few units: its sizes scatter little."""
    monkeypatch.setattr(coordinate_gate, "NUM_SEEDS", {1: 10, 2: 4, 4: 3, 8: 4})


def check(parametrisation="mup", open_workload=ToyWorkload.open, **training):
    experiment = toy_experiment(mup={"parametrisation": parametrisation}, training=training)
    return run_gates(open_workload, experiment)


@pytest.mark.parametrize(
    "training",
    [*({"optimizer": name} for name in OPTIMIZERS), *({"schedule": name} for name in SCHEDULES[1:])],
    ids=str,
)
def test_mup_passes_both_gates(training):
    report = check(**training)

    assert report.passed
    assert report.duplication.largest <= 1e-13
    assert report.coordinates.slopes.steepest.deviation <= 0.15


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_standard_parametrisation_fails_both_gates_clearly(optimizer):
    report = check("standard", optimizer=optimizer)

    assert report.duplication.largest > 1e-3
    assert report.coordinates.slopes.steepest.value > 2 * report.coordinates.limit


@pytest.mark.parametrize("settings", [{}, {"base_num_layers": 1, "parametrisation": "standard"}], ids=str)
def test_without_a_rule_for_depth_there_is_no_gate_for_it(settings):
    report = run_gates(ToyWorkload.open, toy_experiment(mup=settings))

    assert report.depth is None
    assert report.to_dict()["depth"] is None


def test_coordinates_see_inputs_drawn_by_fan_out(monkeypatch):
    with_rules(monkeypatch, init_std=lambda rule, _: rule.shape[0] ** -0.5 if rule.role == "input" else rule.init_std)

    report = check()

    assert report.duplication.passed, "duplication starts both networks from the same values"
    assert not report.coordinates.passed
    assert dict(report.coordinates.slopes.faults(0.15))["embed (initial)"].value == pytest.approx(-0.5, abs=0.1)
    assert "first values" in report.lines()[-1]


def test_a_training_that_breaks_at_the_base_width_is_called_no_matter_of_the_width(monkeypatch):
    monkeypatch.setitem(coordinate_gate.SETTINGS, "lr", 1e200)

    report = check()

    assert not report.passed
    assert "breaks at the base width too" in report.lines()[-1]
    assert report.to_dict()["coordinates"]["breaks_at_base"]


def test_changes_alone_are_not_blamed_on_the_first_values():
    report = check()
    slopes = replace(report.coordinates.slopes, change={"embed": Slope(0.8, 0.1)})

    advice = replace(report, coordinates=replace(report.coordinates, slopes=slopes)).lines()[-1]

    assert "first values are right" in advice


def test_the_report_survives_json():
    report = check("standard")

    content = json.loads(json.dumps(report.to_dict()))

    assert content["passed"] is False
    assert content["duplication"]["passed"] is False
    assert content["duplication"]["largest"] == report.duplication.largest
    slope = report.coordinates.slopes.change["attend"]
    assert content["coordinates"]["change"]["attend"] == slope.value
    assert content["coordinates"]["change_stderr"]["attend"] == slope.stderr


def test_the_lines_say_what_failed_and_what_to_do():
    passed, failed = check().lines(), check("standard").lines()

    assert len(passed) == 3
    assert all(line.startswith("  pass") for line in passed[1:])
    assert all(line.startswith("  FAIL") for line in failed[1:3])
    assert any("attend (change)" in line for line in failed)
    assert "Set mup.parametrisation to mup" in failed[-1]


def test_the_gates_use_the_experiments_schedule_and_hyperparameters(monkeypatch):
    seen = []
    correct = TrialGroup.start

    def start(group, slot, trial, state=None):
        seen.append((group.training.schedule, trial.hyperparameters.alpha_output, trial.hyperparameters.dropout))
        correct(group, slot, trial, state)

    monkeypatch.setattr(TrialGroup, "start", start)

    run_gates(
        ToyWorkload.open,
        toy_experiment(training={"schedule": "warmup_cosine"}, hyperparameters={"alpha_output": 2.0, "dropout": 0.2}),
    )

    assert set(seen) == {("warmup_cosine", 2.0, 0.0)}


def test_a_gradient_that_is_no_number_fails_instead_of_changing_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(trial_group, "gradient_norm", lambda *_: torch.tensor(math.nan, dtype=torch.float64))

    report = check()
    write_json(tmp_path / "gates.json", report.to_dict())

    assert report.duplication.largest == math.inf
    assert report.coordinates.slopes.steepest.value == math.inf
    assert read_strictly(tmp_path / "gates.json")["coordinates"]["steepest"] == "infinite"
