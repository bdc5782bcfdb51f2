import pytest
from tuned_trial import SEARCHED, make_plan

from raytag.config.hyperparameters import Hyperparameters
from raytag.errors import StudyError
from raytag.transfer.target import Target


@pytest.fixture
def plan():
    return make_plan()


@pytest.mark.parametrize("name", ["lr", "weight_decay", "loss_weight_vertexing"])
def test_transferable_values_are_carried(plan, name):
    assert getattr(plan.experiment.hyperparameters, name) == SEARCHED[name]


def test_a_value_that_does_not_transfer_returns_to_the_experiments(plan):
    assert plan.experiment.hyperparameters.dropout == 0.05


def test_values_not_searched_stay(plan):
    assert plan.experiment.hyperparameters.beta2 == 0.99


def test_every_hyperparameter_has_a_reason(plan):
    assert {entry.name for entry in plan.carried} == set(Hyperparameters.model_fields)
    assert all(entry.reason for entry in plan.carried)


def test_the_wide_experiment_differs_only_in_name_width_and_hyperparameters(plan):
    assert plan.experiment.search.widths == (256,)
    assert plan.experiment.name == "gn2-w256"
    assert plan.experiment.mup.base_width == 32


def by_name(entries):
    return {entry.name: entry for entry in entries}


def test_width_alone_changes_no_tuned_value(plan):
    assert [(entry.name, entry.old, entry.value) for entry in plan.settings] == [("width", 32, 256)]
    carried = [entry for entry in plan.carried if entry.transfer in ("yes", "rule", "verify")]
    assert [entry.name for entry in carried] == ["lr", "weight_decay", "loss_weight_vertexing"]
    assert all(entry.value == entry.old for entry in carried)


def test_a_larger_batch_and_more_steps_change_the_values_by_rules_that_are_named():
    plan = make_plan(Target(256, batch_size=1024, num_steps=500))

    # 4 times the batch and twice the jets: lr √4 / √2 times as large, 1 - β 4 / 2 times, ε √2 / √4 times
    found = by_name(plan.carried)
    assert found["lr"].value == pytest.approx(0.013 * 2**0.5)
    assert (found["lr"].transfer, found["lr"].papers) == (
        "rule",
        ("Malladi et al., arXiv:2205.10287", "Mlodozeniec et al., arXiv:2512.22382"),
    )
    assert found["beta2"].value == pytest.approx(1 - 2 * 0.01)  # not searched, yet changed
    assert plan.experiment.hyperparameters.eps == pytest.approx(1e-8 / 2**0.5)
    assert found["dropout"].value == 0.05
    assert (plan.experiment.training.batch_size, plan.experiment.training.num_steps) == (1024, 500)


@pytest.mark.parametrize(("rule", "factor"), [("batch", 2**-0.5), ("steps", 2)])
def test_a_rule_that_is_switched_off_leaves_its_factor_out(rule, factor):
    plan = make_plan(Target(256, batch_size=1024, num_steps=500, without_rules=frozenset({rule})))

    assert plan.experiment.hyperparameters.lr == pytest.approx(0.013 * factor)
    name = {"batch": "batch_size", "steps": "num_steps"}[rule]
    assert by_name(plan.settings)[name].transfer == "verify"


@pytest.mark.parametrize(("base", "expected"), [(None, 4), (2, 2)])
def test_another_depth_weighs_branches_by_the_study_s_own_depth_or_base(base, expected):
    plan = make_plan(Target(256, num_layers=8), base_num_layers=base)

    assert (plan.experiment.model.num_layers, plan.experiment.mup.base_num_layers) == (8, expected)
    depth = by_name(plan.settings)["num_layers"]
    assert (depth.transfer, depth.papers) == ("rule", ("Dey et al., arXiv:2505.01618",))


def test_depth_without_its_rule_is_to_be_checked():
    plan = make_plan(Target(256, num_layers=8, without_rules=frozenset({"depth"})))

    assert plan.experiment.mup.base_num_layers is None
    assert by_name(plan.settings)["num_layers"].transfer == "verify"


def test_the_study_s_own_rule_for_depth_cannot_be_switched_off():
    study = make_plan(base_num_layers=2).experiment

    with pytest.raises(StudyError, match=r"--without-rule depth: .*mup\.base_num_layers 2"):
        Target(256, num_layers=8, without_rules=frozenset({"depth"})).check(study, 1)


def test_the_standard_parametrisation_has_no_rule_for_depth_to_insist_on():
    study = make_plan(base_num_layers=2, parametrisation="standard").experiment

    Target(256, num_layers=8, without_rules=frozenset({"depth"})).check(study, 1)


def test_nothing_is_promised_of_the_standard_parametrisation():
    plan = make_plan(Target(256, num_layers=8), parametrisation="standard")

    assert by_name(plan.carried)["lr"].transfer == "verify"
    assert {entry.transfer for entry in plan.settings} == {"verify"}


def test_values_of_a_population_are_said_to_be_its_last_generation_s():
    assert make_plan().notes == ()
    assert "last generation's values" in make_plan(scheduler="pbt").notes[0]


def test_a_run_of_another_shape_has_another_name():
    assert make_plan(Target(256, num_layers=8, num_steps=1000)).trial.name == "w256-l8-from-w32-0003"
    assert make_plan(Target(64, batch_size=512, num_steps=2000)).trial.name == "w64-b512-s2000-from-w32-0003"


def test_the_wide_trial_says_where_it_comes_from(plan):
    assert plan.trial.name == "w256-from-w32-0003"
    assert plan.trial.width == 256


def test_the_wide_model_is_measured_beside_the_first_member_of_its_trial(plan):
    assert plan.narrow == "w32-0003"
    assert make_plan(replicas=2, folds=3).narrow == "w32-0003-r0f0"
