from dataclasses import replace

import pytest
from finished_study import COMPLETE
from mlflow.tracking import MlflowClient

from raytag.errors import RaytagError
from raytag.files import write_atomically
from raytag.report.comparison import Comparison
from raytag.search.mirror import StudyMirror
from raytag.search.study import Study
from raytag.transfer.folder import WideFolder, WideProgress
from raytag.transfer.prepare import prepare_transfer
from raytag.transfer.record import WideMirror, final_numbers
from raytag.transfer.target import Target

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # mlflow's own queries

HISTORY = {step: {"val/objective": 1 / step, "train/loss": 2.0, "seconds": step / 10} for step in (10, 20, 30)}
COMPARISON = Comparison("test", 100, {"objective": 1.2}, {"objective": 1.1}, -0.1, 0.02)


class Scene:
    """A study in MLflow, and mirrors of transfers from it."""

    def __init__(self, study, path):
        self.uri = f"sqlite:///{path}/mlflow.db"
        self.study, self.warnings = study, []
        StudyMirror(study, self.uri, "raytag", self.warnings.append).sync(Study.load(study).records())

    def transfer(self, width, uri=None):
        """Return a transfer's folder and a new mirror of it."""
        plan = prepare_transfer(self.study, Target(width))
        mlflow = plan.experiment.mlflow.model_copy(update={"tracking_uri": uri or self.uri})
        object.__setattr__(plan, "experiment", plan.experiment.model_copy(update={"mlflow": mlflow}))
        folder = WideFolder(self.study.path / "transfer" / plan.trial.name)
        folder.prepare(plan)
        return folder, WideMirror(plan, self.study, folder, self.warnings.append)

    def runs(self):
        client = MlflowClient(tracking_uri=self.uri)
        found = client.search_runs([client.get_experiment_by_name("raytag").experiment_id])
        return {run.info.run_name: run for run in found}

    def points(self, name, metric):
        client = MlflowClient(tracking_uri=self.uri)
        return [(point.step, point.value) for point in client.get_metric_history(self.runs()[name].info.run_id, metric)]

    def artifacts(self, name):
        client = MlflowClient(tracking_uri=self.uri)
        return {file.path for file in client.list_artifacts(self.runs()[name].info.run_id)}


@pytest.fixture
def scene(study, tmp_path):
    return Scene(study, tmp_path)


NAME = f"w32-from-{COMPLETE}"


def test_the_run_is_there_from_the_start_linked_to_study_and_trial(scene):
    _, mirror = scene.transfer(32)

    mirror.sync()

    runs = scene.runs()
    tags = runs[NAME].data.tags
    assert runs[NAME].info.status == "RUNNING"
    assert tags["raytag.source_trial"] == COMPLETE
    assert tags["raytag.source_run_id"] == runs[COMPLETE].info.run_id
    assert tags["mlflow.parentRunId"] == runs["tiny"].info.run_id
    assert {"lr", "weight_decay", "alpha_output"} <= runs[NAME].data.params.keys()


def test_metrics_follow_the_training(scene):
    folder, mirror = scene.transfer(32)
    for last in (10, 20, 30):
        folder.write_progress(WideProgress(last, 2.0, {step: m for step, m in HISTORY.items() if step <= last}))
        mirror.sync()

        assert scene.points(NAME, "val/objective") == [(step, 1 / step) for step in HISTORY if step <= last]


def test_the_end_brings_test_metrics_verdict_and_artifacts(scene):
    folder, mirror = scene.transfer(32)
    folder.write_progress(WideProgress(30, 2.0, HISTORY))
    write_atomically(folder.gates, '{"passed": true}')
    folder.add_provenance('{"raytag": "1.2", "code": {"commit": "c0ffee", "is_dirty": true}}')
    write_atomically(folder.result, "{}")

    assert mirror.close("FINISHED", numbers=final_numbers(COMPARISON))

    run = scene.runs()[NAME]
    assert run.info.status == "FINISHED"
    assert run.data.tags["mup.gates"] == "passed"
    assert run.data.tags["mlflow.source.git.commit"] == "c0ffee-dirty"
    assert run.data.metrics["test/objective"] == 1.1
    assert run.data.metrics["test/narrow_objective"] == 1.2
    assert run.data.metrics["test/objective_difference"] == -0.1
    assert scene.artifacts(NAME) == {
        "experiment.yaml",
        "plan.json",
        "provenance-1.json",
        "gates.json",
        "result.json",
    }


def test_writing_again_adds_nothing(scene):
    folder, mirror = scene.transfer(32)
    folder.write_progress(WideProgress(30, 2.0, HISTORY))
    mirror.close("FINISHED", numbers=final_numbers(COMPARISON))
    before = scene.runs(), scene.points(NAME, "val/objective"), scene.points(NAME, "test/objective")

    scene.transfer(32)[1].close("FINISHED", numbers=final_numbers(COMPARISON))

    runs, *points = scene.runs(), scene.points(NAME, "val/objective"), scene.points(NAME, "test/objective")
    assert points == list(before[1:])
    assert {name: run.data.metrics for name, run in runs.items()} == {
        name: run.data.metrics for name, run in before[0].items()
    }


def test_what_is_measured_again_replaces_what_was(scene):
    again = replace(COMPARISON, wide={"objective": 0.9}, difference=-0.3)
    for comparison in (COMPARISON, again, again):
        scene.transfer(32)[1].close("FINISHED", numbers=final_numbers(comparison))

    metrics = scene.runs()[NAME].data.metrics
    assert (metrics["test/objective"], metrics["test/objective_difference"]) == (0.9, -0.3)
    assert len(scene.points(NAME, "test/objective")) == 2
    assert len(scene.points(NAME, "test/narrow_objective")) == 1


def test_a_comparison_on_validation_jets_adds_nothing_to_the_curves(scene):
    folder, mirror = scene.transfer(32)
    folder.write_progress(WideProgress(30, 2.0, HISTORY))

    mirror.close("FINISHED", numbers=final_numbers(replace(COMPARISON, split="val")))

    assert scene.points(NAME, "val/objective") == [(step, 1 / step) for step in HISTORY]
    assert scene.runs()[NAME].data.metrics["val/narrow_objective"] == 1.2


def test_a_failure_is_told_until_the_next_attempt(scene):
    scene.transfer(32)[1].close("FAILED", failure="the loss became nan")

    failed = scene.runs()[NAME]
    assert (failed.info.status, failed.data.tags["failure"]) == ("FAILED", "the loss became nan")

    scene.transfer(32)[1].sync()

    running = scene.runs()[NAME]
    assert (running.info.status, running.data.tags["failure"]) == ("RUNNING", "")


def test_runs_of_several_widths_do_not_collide(scene):
    for width in (32, 64):
        folder, mirror = scene.transfer(width)
        folder.write_progress(WideProgress(10, 2.0, {10: {"val/objective": float(width), "seconds": 1.0}}))
        mirror.close("FINISHED")

    assert {name: run.data.metrics["val/objective"] for name, run in scene.runs().items() if "-from-" in name} == {
        f"w32-from-{COMPLETE}": 32,
        f"w64-from-{COMPLETE}": 64,
    }


def test_a_run_that_was_moved_aside_keeps_its_record(scene):
    folder, mirror = scene.transfer(32)
    folder.write_progress(WideProgress(30, 2.0, HISTORY))
    mirror.close("FINISHED")
    folder.move_aside()

    scene.transfer(32)[1].sync()

    client = MlflowClient(tracking_uri=scene.uri)
    found = client.search_runs([client.get_experiment_by_name("raytag").experiment_id])
    assert sorted(run.info.status for run in found if run.info.run_name == NAME) == ["FINISHED", "RUNNING"]


def test_a_logbook_that_fails_is_told_once_and_stops_nothing(scene, tmp_path):
    (tmp_path / "file").touch()
    _, mirror = scene.transfer(32, uri=f"sqlite:///{tmp_path}/file/mlflow.db")

    mirror.sync()
    mirror.sync()

    assert not mirror.close("FINISHED", numbers=final_numbers(COMPARISON))
    assert len(scene.warnings) == 1


def test_an_uri_that_can_never_work_is_told(scene):
    with pytest.raises(RaytagError, match=r"mlflow\.tracking_uri nonsense://here"):
        scene.transfer(32, uri="nonsense://here")[1].sync()


def test_a_late_sync_does_not_open_a_closed_run_again(scene):
    _, mirror = scene.transfer(32)
    mirror.close("KILLED")

    mirror.sync()

    assert scene.runs()[NAME].info.status == "KILLED"
