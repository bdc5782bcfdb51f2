"""From a run in MLflow back to the study on disk."""

from dataclasses import replace

import pytest
from finished_study import COMPLETE
from mlflow.tracking import MlflowClient

from raytag.errors import RaytagError, StudyError
from raytag.logbook import KEY, Logbook
from raytag.search.mirror import StudyMirror
from raytag.search.study import Study
from raytag.transfer.folder import WideFolder
from raytag.transfer.lookup import source_of_run
from raytag.transfer.prepare import prepare_transfer
from raytag.transfer.record import WideMirror
from raytag.transfer.source import Source
from raytag.transfer.target import Target

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # mlflow's own queries


@pytest.fixture
def recorded(study, uri):
    """Return the id of the study's run by its name."""
    StudyMirror(study, uri, study.path.parent.parent.name, [].append).sync(Study.load(study).records())
    client = MlflowClient(tracking_uri=uri)

    def run_id(name):
        experiment = client.get_experiment_by_name(study.path.parent.parent.name)
        (run,) = [r for r in client.search_runs([experiment.experiment_id]) if r.info.run_name == name]
        return run.info.run_id

    return run_id


@pytest.mark.parametrize(("name", "trial"), [("tiny", None), (COMPLETE, COMPLETE)])
def test_a_study_and_a_trial_are_found_by_their_runs(recorded, study, uri, name, trial):
    assert source_of_run(recorded(name), uri) == Source(study, trial)


def test_a_trial_is_found_by_its_run_under_another_name(recorded, study, uri):
    run_id = recorded(COMPLETE)
    MlflowClient(tracking_uri=uri).update_run(run_id, name="my favourite")

    assert source_of_run(run_id, uri) == Source(study, COMPLETE)


@pytest.fixture
def wide_run(recorded, study, uri):
    """A wide run's folder and the id of its run."""
    plan = prepare_transfer(study, Target(32), tracking_uri=uri)
    mlflow = plan.experiment.mlflow.model_copy(update={"experiment": study.path.parent.parent.name})
    plan = replace(plan, experiment=plan.experiment.model_copy(update={"mlflow": mlflow}))
    folder = WideFolder(study.path / "transfer" / plan.trial.name)
    folder.prepare(plan)
    WideMirror(plan, study, folder, [].append).sync()
    return folder, recorded(plan.trial.name)


def test_a_wide_run_is_found_with_the_trial_that_it_was_widened_from(wide_run, study, uri):
    folder, run_id = wide_run

    assert source_of_run(run_id, uri) == Source(study, COMPLETE, folder)


def test_a_wide_run_is_found_where_it_was_moved_aside(wide_run, study, uri):
    folder, run_id = wide_run
    aside = folder.move_aside()

    assert source_of_run(run_id, uri) == Source(study, COMPLETE, WideFolder(aside))


def test_another_wide_run_of_the_same_name_is_not_taken_for_the_run_s(wide_run, study, uri):
    folder, run_id = wide_run
    folder.identity.write_text("another")

    with pytest.raises(StudyError, match=rf"is gone from {study.path}/transfer. Its source trial is tiny:{COMPLETE}"):
        source_of_run(run_id, uri)


def test_a_run_that_does_not_exist_is_told(recorded, uri):
    recorded("tiny")

    with pytest.raises(RaytagError, match=rf"{'a' * 32}: MLflow at {uri} has no such run \(--tracking-uri\)"):
        source_of_run("a" * 32, uri)


def test_a_run_of_something_else_is_told(uri):
    run = Logbook(uri, "other").open_run("key", "a run of mine", {})

    with pytest.raises(StudyError, match=r"\(a run of mine\): this run is not raytag's; expected the run of a trial"):
        source_of_run(run.run_id, uri)


def test_a_folder_that_is_gone_is_told(recorded, study, uri):
    study.path.rename(study.path.with_name("moved"))

    with pytest.raises(StudyError, match=rf"\({COMPLETE}\): its study is gone from {study.path}"):
        source_of_run(recorded(COMPLETE), uri)


def test_another_study_of_the_same_name_is_not_taken_for_the_run_s(recorded, study, uri):
    study.identity_file.write_text("another")

    with pytest.raises(StudyError, match="lies another study of this name by now"):
        source_of_run(recorded(COMPLETE), uri)


def test_a_run_from_before_folders_were_noted_is_told(recorded, uri):
    client = MlflowClient(tracking_uri=uri)
    client.delete_tag(recorded("tiny"), "raytag.folder")
    assert client.get_run(recorded("tiny")).data.tags[KEY]

    with pytest.raises(StudyError, match="Give the study's folder instead"):
        source_of_run(recorded(COMPLETE), uri)
