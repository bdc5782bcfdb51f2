import pytest

from raytag.config.experiment import DataConfig, Experiment, SearchConfig
from raytag.config.hyperparameters import Hyperparameters
from raytag.config.space import SearchSpace
from raytag.records import TrialRecord, TrialState
from raytag.transfer.plan import plan_transfer

SPACE = SearchSpace.model_validate(
    {
        "lr": {"distribution": "log_uniform", "low": 1e-4, "high": 1e-1, "transfer": "yes"},
        "weight_decay": {"distribution": "log_uniform", "low": 1e-6, "high": 1e-2, "transfer": "rule"},
        "loss_weight_vertexing": {"distribution": "uniform", "low": 0.5, "high": 3, "transfer": "verify"},
        "dropout": {"distribution": "uniform", "low": 0, "high": 0.3, "transfer": "no"},
    }
)
SEARCHED = {"lr": 0.013, "weight_decay": 3e-4, "loss_weight_vertexing": 2.0, "dropout": 0.2}


def make_plan(**search):
    experiment = Experiment(
        name="gn2",
        data=DataConfig(train="train.h5", val="val.h5", norm_dict="norm_dict.yaml"),
        search=SearchConfig(space="space.yaml", widths=(32, 64), **search),
        hyperparameters={"dropout": 0.05, "beta2": 0.99},
    )
    source = TrialRecord(
        name="w32-0003",
        width=32,
        number=3,
        seed=7,
        state=TrialState.COMPLETE,
        searched=SEARCHED,
        hyperparameters=Hyperparameters(**SEARCHED),
        history={},
    )
    return plan_transfer(experiment, SPACE, source, width=256)


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


def test_the_wide_trial_says_where_it_comes_from(plan):
    assert plan.trial.name == "w256-from-w32-0003"
    assert plan.trial.width == 256


def test_the_wide_model_is_measured_beside_the_first_member_of_its_trial(plan):
    assert plan.narrow == "w32-0003"
    assert make_plan(replicas=2, folds=3).narrow == "w32-0003-r0f0"
