"""Whole searches of the toy workload on a local Ray. Signals and real commands are in tests/e2e."""

import json
import math
import os
from io import StringIO
from pathlib import Path
from unittest.mock import Mock

import pytest
import ray
from finished_study import write_experiment
from mlflow.tracking import MlflowClient
from rich.console import Console
from toy_workload import ToyWorkload, toy_experiment

from raytag.cli.main import main
from raytag.config.space import LogUniform, SearchSpace
from raytag.errors import CheckError, DataError, Problem, RaytagError, StudyError
from raytag.records import TrialState
from raytag.search import driver
from raytag.search.folder import StudyFolder, exclusive
from raytag.search.study import Study

pytestmark = pytest.mark.filterwarnings(
    "ignore::sqlalchemy.exc.SADeprecationWarning",  # mlflow's own queries
    "ignore::FutureWarning",  # ray's announcements
    "ignore::ResourceWarning",  # sockets and files that ray leaves to the garbage collector
    "ignore::pytest.PytestUnraisableExceptionWarning",
)

NUM_TRIALS = 8


def experiment_in(path, **sections):
    experiment = toy_experiment(
        training={"num_steps": 20, "evaluate_every": 5, "batch_size": 8},
        search={"first_rung": 5, "trials_per_width": NUM_TRIALS // 2},
        resources={"num_workers": 2, "slots": 2},
        mlflow={"tracking_uri": f"sqlite:///{path}/mlflow.db"},
        **sections,
    )
    return experiment.model_copy(update={"output": path / "runs"})


def run(experiment, space):
    out = StringIO()
    return driver.search(experiment, space, Console(file=out), open_workload=ToyWorkload.open), out.getvalue()


@pytest.fixture(scope="module", autouse=True)
def workers_find_the_toy():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)
        yield


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("search")


@pytest.fixture(scope="module")
def toy_space():
    return SearchSpace.model_validate(
        {"lr": {"distribution": "log_uniform", "low": 1e-4, "high": 1e-1, "transfer": "yes"}}
    )


@pytest.fixture(scope="module")
def finished(path, toy_space):
    """A finished search: its outcome and what it printed."""
    return run(experiment_in(path), toy_space)


def test_every_trial_is_finished(finished):
    outcome, _ = finished

    assert len(outcome.records) == NUM_TRIALS
    assert outcome.num_unfinished == 0
    assert {record.state for record in outcome.records} <= {TrialState.COMPLETE, TrialState.PRUNED}


def test_the_gates_verdict_is_printed_and_kept(finished):
    outcome, printed = finished

    assert outcome.gates["passed"]
    assert json.loads(outcome.folder.gates.read_text())["duplication"]["passed"]
    for line in outcome.gates["lines"]:
        assert line in printed


def test_mlflow_holds_the_study_and_its_trials(finished):
    outcome, _ = finished
    client = MlflowClient(tracking_uri=outcome.tracking_uri)
    runs = client.search_runs([client.get_experiment_by_name("raytag").experiment_id])
    (study,) = [run for run in runs if run.data.tags["raytag.kind"] == "study"]

    assert len(runs) == NUM_TRIALS + 1
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}
    assert study.data.tags["mup.gates"] == "passed"
    files = {entry.path for entry in client.list_artifacts(study.info.run_id)}
    assert {"experiment.yaml", "gates.json", "loss_versus_lr.png", "provenance-1.json"} <= files


def study_run(outcome):
    client = MlflowClient(tracking_uri=outcome.tracking_uri)
    runs = client.search_runs([client.get_experiment_by_name("raytag").experiment_id])
    (study,) = [run for run in runs if run.info.run_name == outcome.experiment.name]
    return study


def test_a_search_that_lost_its_workers_is_not_called_finished(path, toy_space, monkeypatch):
    monkeypatch.setattr(driver, "run_workers", lambda *_: None)
    outcome, _ = run(experiment_in(path, name="lost", mup={"skip_check": True}), toy_space)

    assert outcome.num_unfinished == NUM_TRIALS
    assert study_run(outcome).info.status == "FAILED"


def test_a_tracking_uri_that_can_never_work_is_told_before_anything_runs(path, toy_space, monkeypatch):
    monkeypatch.setattr(driver, "start_owner", lambda _: pytest.fail("the study was opened"))
    experiment = experiment_in(path, name="nowhere")
    mlflow = experiment.mlflow.model_copy(update={"tracking_uri": "postgres//nowhere"})

    with pytest.raises(RaytagError, match=r"^mlflow.tracking_uri postgres//nowhere: "):
        run(experiment.model_copy(update={"mlflow": mlflow}), toy_space)
    assert not StudyFolder(experiment.study_folder).provenance


def test_the_same_command_on_a_finished_study_starts_nothing(finished, path, toy_space, monkeypatch):
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray was started"))
    outcome, _ = run(experiment_in(path), toy_space)

    assert outcome.records == finished[0].records


def test_a_run_that_trains_nothing_leaves_the_provenance_alone(finished, path, toy_space):
    outcome, _ = finished
    written = [file.read_text() for file in outcome.folder.provenance]
    run(experiment_in(path), toy_space)

    assert len(written) == 1
    assert [file.read_text() for file in outcome.folder.provenance] == written


def test_a_grown_study_trains_the_new_trials_only(finished, path, toy_space):
    experiment = experiment_in(path)
    grown = experiment.model_copy(
        update={"search": experiment.search.model_copy(update={"trials_per_width": NUM_TRIALS // 2 + 1})}
    )
    outcome, printed = run(grown, toy_space)

    assert len(outcome.records) == NUM_TRIALS + 2
    assert [record for record in outcome.records if record.number < NUM_TRIALS // 2] == list(finished[0].records)
    assert "passed before" in printed
    assert [file.name for file in outcome.folder.provenance] == ["provenance-1.json", "provenance-2.json"]


def test_a_failed_gate_stops_the_search(path, toy_space):
    control = experiment_in(path, name="control", mup={"parametrisation": "standard"})

    with pytest.raises(CheckError, match=r"mup\.skip_check=true"):
        run(control, toy_space)
    folder = StudyFolder(control.study_folder)
    assert json.loads(folder.gates.read_text())["passed"] is False


def test_a_grid_of_learning_rates_is_searched_by_several_workers(path):
    lr = LogUniform(distribution="log_uniform", low=1e-2, high=8e-2, transfer="yes")
    settings = {"sampler": "lr_grid", "first_rung": None, "trials_per_width": 20, "replicas": 2}
    experiment = experiment_in(path, name="grid", mup={"skip_check": True})
    experiment = experiment.model_copy(update={"search": experiment.search.model_copy(update=settings)})
    outcome, printed = run(experiment, SearchSpace({"lr": lr}))

    assert outcome.num_unfinished == 0
    assert "up to 20 learning rates × 2 members of each width 32, 64" in printed
    for width in experiment.search.widths:
        objective_by_octave = {
            round(2 * math.log2(record.lr / lr.low)) / 2: record.objective
            for record in outcome.records
            if record.width == width
        }
        best = min(objective_by_octave, key=objective_by_octave.get)
        assert {best - 1, best - 0.5, best + 0.5, best + 1} <= objective_by_octave.keys()
        assert 5 < len(objective_by_octave) < 20


def test_a_resumed_grid_has_workers_for_the_rounds_to_come(path, monkeypatch):
    def refuse_to_share(_resources, _cluster, most_workers):
        raise RaytagError(f"{most_workers} workers")

    monkeypatch.setattr(driver, "cluster_size", lambda: None)
    monkeypatch.setattr(driver, "share_resources", refuse_to_share)
    experiment = experiment_in(path, name="resumed-grid")
    settings = {"sampler": "lr_grid", "first_rung": None, "trials_per_width": 20, "widths": (32,)}
    experiment = experiment.model_copy(update={"search": experiment.search.model_copy(update=settings)})
    space = SearchSpace({"lr": LogUniform(distribution="log_uniform", low=1e-2, high=4e-2, transfer="yes")})
    folder = StudyFolder(experiment.study_folder)
    folder.prepare(experiment, space)
    study = Study.open(folder, experiment, space)
    for name in [study.ask(32) for _ in range(3)][:2]:
        study.report(name, 20, [{"val/objective": 1.0}])

    assert study.num_left() == 1
    with pytest.raises(RaytagError, match=r"^2 workers$"):
        driver.search_in_session(Mock(), experiment, space, Console(file=StringIO()))


def refuse(*_):
    raise DataError([Problem("tracks", "no variable d0"), Problem("jets", "no variable pt")])


def test_a_mistake_found_in_another_process_is_told_without_its_traceback(path, toy_space):
    experiment = experiment_in(path, name="refused")

    with pytest.raises(DataError) as error:
        driver.search(experiment, toy_space, Console(file=StringIO()), open_workload=refuse)

    assert str(error.value) == "tracks: no variable d0\njets: no variable pt"


def test_a_second_search_of_the_same_study_is_refused(path, toy_space):
    folder = StudyFolder(experiment_in(path).study_folder)

    with exclusive(folder.lock, "held by the test"), pytest.raises(StudyError, match="another search of this study"):
        run(experiment_in(path), toy_space)


def test_replicas_and_folds_of_real_jets_become_one_result_per_trial(tmp_path, jets, monkeypatch, capsys):
    write_experiment(tmp_path, jets, num_steps=4, evaluate_every=2)
    monkeypatch.chdir(tmp_path)
    settings = ["search.trials_per_width=2", "search.replicas=2", "search.folds=2", "resources.num_workers=1"]

    assert main(["search", "tiny.yaml", *settings]) == 0, capsys.readouterr()

    folder = StudyFolder(tmp_path / "runs" / "tiny")
    for record in Study.load(folder).records():
        members = record.members[4]
        assert record.state is TrialState.COMPLETE
        assert len({metrics["train/loss"] for metrics in members}) == 4
        assert record.objective == pytest.approx(sum(metrics["val/objective"] for metrics in members) / 4)
        assert all(folder.checkpoint(f"{record.name}-{name}").exists() for name in ("r0f0", "r0f1", "r1f0", "r1f1"))
