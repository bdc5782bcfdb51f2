"""The gates on the real tagger and real jets: what must pass, and what each sees when one rule is switched off."""

from dataclasses import replace
from typing import get_args

import pytest
from broken_rules import with_rules
from torch import nn

from raytag.config.experiment import Optimizer
from raytag.errors import RoleError
from raytag.mup.layers import HiddenLinear
from raytag.tagging.workload import TaggingWorkload
from raytag.training import coordinate_gate, trial_group
from raytag.training.duplication_gate import EVERY_COMBINATION, MAX_DEVIATION, check_duplication
from raytag.training.gates import run_gates

HEADS = {"num_heads": {"num_heads": 8}, "head_width": {"head_width": 8}}
TASKS = [
    ("jet_classification",),
    ("jet_classification", "track_origin"),
    ("jet_classification", "vertexing"),
    ("jet_classification", "track_origin", "vertexing"),
]


@pytest.fixture
def experiment(tagger_experiment):
    """GN2 with one layer; sizes are otherwise those of the smoke search."""

    def make(optimizer="adamw", **sections):
        training = {"num_steps": 30, "batch_size": 64, "evaluate_every": 10, "optimizer": optimizer}
        return tagger_experiment(training=training, **sections)

    return make


@pytest.fixture
def change(monkeypatch):
    """Change every tagger after it is built."""
    build = TaggingWorkload.build_model

    def install(change):
        def build_changed(tagging, width):
            model = build(tagging, width)
            change(model, width)
            return model

        monkeypatch.setattr(TaggingWorkload, "build_model", build_changed)

    return install


def duplication(experiment, combinations=()):
    return check_duplication(TaggingWorkload.open, experiment, combinations)


def first_sizes(experiment, monkeypatch):
    """The slopes of the initial sizes."""
    monkeypatch.setattr(coordinate_gate, "NUM_STEPS", 1)
    return coordinate_gate.check_coordinates(TaggingWorkload.open, experiment).slopes.initial


@pytest.mark.parametrize("optimizer", get_args(Optimizer))
def test_the_mup_tagger_passes_both_gates(experiment, optimizer):
    tasks = {} if optimizer == "adamw" else {"tasks": TASKS[0]}
    report = run_gates(TaggingWorkload.open, experiment(optimizer, model=tasks))

    assert report.passed, "\n".join(report.lines())
    assert report.duplication.largest < 1e-13


def test_the_standard_tagger_fails_both_gates(experiment):
    report = run_gates(TaggingWorkload.open, experiment(mup={"parametrisation": "standard"}))

    assert report.duplication.largest > 1e-3
    assert report.coordinates.slopes.steepest.value > 2 * report.coordinates.limit


@pytest.mark.parametrize("heads", HEADS.values(), ids=HEADS)
def test_a_widened_tagger_trains_alike_with_every_optimizer_and_schedule(experiment, heads):
    verdict = duplication(experiment(model=heads), EVERY_COMBINATION)

    assert {(run.optimizer, run.schedule): run.largest for run in verdict.runs if run.largest > 1e-13} == {}
    assert len(verdict.runs) == 20


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("tasks", TASKS, ids=str)
@pytest.mark.parametrize("heads", HEADS.values(), ids=HEADS)
def test_whatever_the_tagger_is_built_of_trains_alike(experiment, heads, tasks, num_layers):
    assert duplication(experiment(model=heads | {"tasks": tasks, "num_layers": num_layers})).largest <= 1e-13


@pytest.mark.parametrize(
    ("optimizer", "name"),
    [
        *(("adamw", name) for name in ("lr_factor", "wd_factor", "eps_factor", "norm_factor")),
        *(("lion", name) for name in ("lr_factor", "wd_factor", "norm_factor")),
        *(("muon", name) for name in ("eps_factor", "norm_factor")),
        *(("sgd", name) for name in ("lr_factor", "wd_factor", "norm_factor")),
    ],
)
def test_duplication_sees_a_factor_that_is_left_out(experiment, monkeypatch, optimizer, name):
    with_rules(monkeypatch, **{name: lambda _rule, _m: 1.0})

    assert duplication(experiment(optimizer)).largest > 1000 * MAX_DEVIATION


def test_duplication_sees_rates_of_muon_that_follow_the_sizes_of_the_wide_matrices(experiment, monkeypatch):
    with_rules(monkeypatch, lr_factor=lambda rule, m: rule.lr_factor * (m**0.5 if rule.algorithm == "muon" else 1.0))

    assert duplication(experiment("muon")).largest > 1000 * MAX_DEVIATION


def test_duplication_sees_a_scheduler_that_sets_one_rate_for_all_parameters(experiment, monkeypatch):
    """As Salt's OneCycleLR(max_lr=scalar) does with the groups of MuAdamW: their decays keep their factors."""
    update = trial_group.update

    def with_one_rate(row, layout, pace, hyperparameters):
        segments = (replace(segment, factors=replace(segment.factors, lr=1.0)) for segment in layout.segments)
        update(row, replace(layout, segments=tuple(segments)), pace, hyperparameters)

    monkeypatch.setattr(trial_group, "update", with_one_rate)

    verdict = duplication(experiment())

    hidden = [name for name, _ in verdict.worst.culprits]
    assert verdict.largest > 1000 * MAX_DEVIATION
    assert "encoder.layers.0.attention.qkv.weight (first step)" in hidden
    assert not any("bias" in name or "readout" in name for name in hidden), "their rates do not change with the width"


@pytest.mark.parametrize("heads", HEADS.values(), ids=HEADS)
def test_duplication_sees_logits_divided_by_a_power_of_the_width_that_the_heads_do_not_have(experiment, change, heads):
    """1/√d where each head grows; a scale that falls with the width where heads grow in number."""

    def wrong_scale(model, width):
        for layer in model.encoder.layers:
            layer.attention.logits.scale = (width // 8) ** -0.5

    change(wrong_scale)

    verdict = duplication(experiment(model=heads))

    assert verdict.largest > 1000 * MAX_DEVIATION
    assert [name for name, _ in verdict.worst.culprits] == [
        "encoder.layers.0.attention.logits (output before the first step)"
    ]


@pytest.mark.parametrize("readout", ["pooling.gate", "jet_classification.tail.readout", "vertexing.tail.readout"])
def test_duplication_sees_a_readout_without_its_multiplier(experiment, change, readout):
    def without_multiplier(model, _):
        model.get_submodule(readout).width_multiplier = 1.0

    change(without_multiplier)

    verdict = duplication(experiment())

    assert verdict.largest > 1000 * MAX_DEVIATION
    assert [name for name, _ in verdict.worst.culprits] == [f"{readout} (output before the first step)"]


def test_duplication_sees_heads_of_a_fixed_width_that_are_copied_in_pieces(experiment, monkeypatch):
    """What the declared units are for: without them a wide model is another function."""
    with_rules(monkeypatch, row_unit=lambda _rule, _m: 1, column_unit=lambda _rule, _m: 1)

    assert duplication(experiment(model={"head_width": 8})).largest > 1000 * MAX_DEVIATION


def test_coordinates_see_inputs_drawn_by_fan_out(experiment, monkeypatch):
    with_rules(monkeypatch, init_std=lambda rule, _: rule.shape[0] ** -0.5 if rule.role == "input" else rule.init_std)

    slopes = first_sizes(experiment(), monkeypatch)

    assert slopes["init_net.first"].value < -coordinate_gate.MAX_SLOPE


def test_coordinates_see_queries_that_do_not_start_at_zero(experiment, monkeypatch):
    """Random queries and keys are not aligned: divided by d, their product falls as 1/√d."""
    with_rules(monkeypatch, num_zero_rows=lambda _rule, _m: 0)

    slopes = first_sizes(experiment(), monkeypatch)

    assert slopes["encoder.layers.0.attention.logits"].value < -coordinate_gate.MAX_SLOPE


def test_a_layer_that_reads_width_and_fixed_columns_is_refused_by_its_name(experiment, change):
    def mixed(model, width):
        model.init_net.second = HiddenLinear(width + 21, width)

    change(mixed)

    with pytest.raises(RoleError, match=r"init_net\.second\.weight: a dimension of .* must be two parameters"):
        duplication(experiment())


def test_an_added_layer_without_a_role_is_refused_by_its_name(experiment, change):
    def undeclared(model, width):
        model.extra = nn.Linear(width, width)

    change(undeclared)

    with pytest.raises(RoleError, match=r"extra\.weight: no muP role declared"):
        duplication(experiment())
