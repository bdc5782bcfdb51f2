"""When what was measured of a transfer still stands, and when it has to be measured again."""

from dataclasses import replace

import pytest
import torch

from raytag.errors import StudyError
from raytag.report.comparison import Comparison
from raytag.report.warm_start import CONTINUED, NARROW, SCRATCH, WARM
from raytag.training.workload import WHOLE
from raytag.transfer.arms import WIDE, Arms
from raytag.transfer.folder import WideFolder
from raytag.transfer.measure import measure
from raytag.transfer.prepare import prepare_transfer
from raytag.transfer.record import WideMirror, WideMirrors
from raytag.transfer.results import Results, conclude, read_results
from raytag.transfer.source import Source, source_in
from raytag.transfer.target import Target
from raytag.transfer.warm_start import narrow_model, plan_warm_start, write_starts
from raytag.transfer.worker import WideJob, WideRun

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # mlflow's own queries

CPU = torch.device("cpu")


@pytest.fixture
def arms(study):
    """A transfer from first values, trained."""
    plan = prepare_transfer(study, Target(32))
    return trained(Arms(plan, study, folder_of(study, plan)))


@pytest.fixture
def warm_arms(study):
    """A warm start, trained."""
    plan = prepare_transfer(study, Target(32))
    warm = plan_warm_start(plan, study.path.name, narrow_model(Source(study, plan.narrow)))
    return trained(Arms(warm.wide, study, folder_of(study, warm.wide), warm))


def folder_of(study, plan):
    return WideFolder(study.path / "transfer" / plan.trial.name)


def trained(arms):
    arms.prepare()
    if arms.warm:
        write_starts(arms.warm, arms.folder, CPU)
    for plan, folder in arms.trainings:
        WideRun(WideJob(plan.experiment, plan.trial, folder, folder.start if arms.warm else None), CPU, WHOLE).run()
    return arms


def measured(arms):
    models = arms.models
    return Results.of(measure(models, "test", CPU), {name: model.digest for name, model in models.items()})


def concluded(arms):
    """Measure the models and write down what came of it."""
    results = measured(arms)
    mirrors = WideMirrors([WideMirror(plan, arms.study, folder, print) for plan, folder in arms.trainings])
    conclude(arms, results, None, mirrors)
    return results


def change(path):
    """Let other bytes lie where a checkpoint was."""
    path.write_bytes(path.read_bytes() + b" ")


@pytest.mark.parametrize(("kind", "names"), [("arms", [NARROW, WIDE]), ("warm_arms", [NARROW, CONTINUED, WARM])])
def test_what_was_measured_stands_while_the_models_are_the_same(request, kind, names):
    arms = request.getfixturevalue(kind)
    assert read_results(arms) is None

    results = concluded(arms)

    assert [*arms.models] == names
    assert read_results(arms) == results
    assert isinstance(results.comparison, Comparison)


@pytest.mark.parametrize("name", [NARROW, WIDE])
def test_a_checkpoint_that_changed_is_measured_again(arms, name):
    concluded(arms)

    change(arms.models[name].checkpoint)

    assert read_results(arms) is None


def test_other_test_jets_are_measured_on(arms):
    concluded(arms)
    data = arms.plan.experiment.data.model_copy(update={"num_test_jets": 50})
    experiment = arms.plan.experiment.model_copy(update={"data": data})

    assert read_results(replace(arms, plan=replace(arms.plan, experiment=experiment))) is None


def test_a_wide_model_that_was_deleted_is_not_measured_again(arms):
    results = concluded(arms)

    arms.folder.checkpoint.unlink()

    assert read_results(arms) == results


def test_a_model_from_scratch_that_is_trained_later_or_anew_is_measured(warm_arms, study):
    concluded(warm_arms)
    scratch = warm_arms.warm.scratch
    trained(Arms(scratch, study, folder_of(study, scratch)))

    assert read_results(warm_arms) is None

    results = concluded(warm_arms)
    assert [*results.warm.models] == [NARROW, CONTINUED, SCRATCH, WARM]
    assert read_results(warm_arms) == results

    change(warm_arms.models[SCRATCH].checkpoint)

    assert read_results(warm_arms) is None


def test_a_finished_warm_start_is_not_shown_for_other_weights(warm_arms):
    concluded(warm_arms)
    narrow = warm_arms.warm.narrow
    weights = {name: 2 * values for name, values in narrow.state_dict.items()}
    other = replace(warm_arms.warm, narrow=replace(narrow, state_dict=weights))

    with pytest.raises(StudyError, match=r"start\.pt: this run began with other weights than .* --restart"):
        replace(warm_arms, warm=other).prepare()


def test_a_warm_start_to_another_depth_is_measured_in_that_depth(study):
    deep = prepare_transfer(study, Target(32, num_layers=2))
    first = trained(Arms(deep, study, folder_of(study, deep)))
    plan = prepare_transfer(study, Target(64, num_layers=2))
    warm = plan_warm_start(plan, study.path.name, narrow_model(source_in(first.folder.path)))
    arms = trained(Arms(warm.wide, study, folder_of(study, warm.wide), warm))

    results = measured(arms)

    assert results.comparison.narrow["objective"] == measured(first).comparison.wide["objective"]
