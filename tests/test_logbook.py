from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from raytag.logbook import Logbook, default_tracking_uri, view_command

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # mlflow's own queries


@pytest.fixture
def open_logbook(uri, request):
    return lambda: Logbook(uri, request.node.name)


@pytest.fixture
def client(uri):
    return MlflowClient(tracking_uri=uri)


HISTORY = {10: {"val/loss": 1.0, "seconds": 0.5}, 20: {"val/loss": 0.7, "seconds": 1.1}}


def points(client, run, metric="val/loss"):
    return [(point.step, point.value) for point in client.get_metric_history(run.run_id, metric)]


def test_a_run_is_found_again_by_its_key(open_logbook):
    first = open_logbook().open_run("study/w32-0000", "w32-0000", {})
    again = open_logbook().open_run("study/w32-0000", "w32-0000", {})
    other = open_logbook().open_run("study/w32-0001", "w32-0001", {})

    assert first.run_id == again.run_id != other.run_id


def test_following_twice_adds_nothing(open_logbook, client):
    run = open_logbook().open_run("key", "run", {})
    run.follow(HISTORY)
    run.follow(HISTORY)

    assert points(client, run) == [(10, 1.0), (20, 0.7)]


def test_a_writer_killed_before_its_mark_writes_again_without_doubling(open_logbook, client):
    run = open_logbook().open_run("key", "run", {})
    run.follow(HISTORY)
    client.delete_tag(run.run_id, "raytag.last_step")

    open_logbook().open_run("key", "run", {}).follow(HISTORY)

    assert points(client, run) == [(10, 1.0), (20, 0.7)]


def test_another_process_goes_on_where_the_last_one_stopped(open_logbook, client):
    open_logbook().open_run("key", "run", {}).follow({10: HISTORY[10]})
    run = open_logbook().open_run("key", "run", {})
    run.follow(HISTORY)

    assert points(client, run) == [(10, 1.0), (20, 0.7)]


def test_a_long_history_is_written_whole(open_logbook, client):
    history = {step: {f"m{i}": float(step) for i in range(30)} for step in range(1, 101)}  # 3 calls' worth
    run = open_logbook().open_run("key", "run", {})
    run.follow(history)

    assert points(client, run, "m29") == [(step, float(step)) for step in range(1, 101)]


def test_a_loss_that_is_not_a_number_is_written(open_logbook, client):
    run = open_logbook().open_run("key", "run", {})
    run.follow({10: {"val/loss": float("nan")}})

    assert [step for step, _ in points(client, run)] == [10]


def test_nested_runs_are_found_by_key(open_logbook, client):
    logbook = open_logbook()
    parent = logbook.open_run("study", "study", {})
    child = logbook.open_run("study/w32-0000", "w32-0000", {}, parent)

    assert {key: run.run_id for key, run in open_logbook().nested_runs(parent).items()} == {
        "study/w32-0000": child.run_id
    }
    assert client.get_run(child.run_id).data.tags["mlflow.parentRunId"] == parent.run_id


def test_parameters_and_numbers_are_written_once(open_logbook, client):
    for _ in range(2):
        run = open_logbook().open_run("key", "run", {})
        run.describe({"lr": 0.001953125})
        run.note({"hp.log2_lr": -9.0})

    data = client.get_run(run.run_id).data
    assert (data.params, data.metrics) == ({"lr": "0.00195312"}, {"hp.log2_lr": -9.0})


@pytest.mark.parametrize("values", [(0.3, 0.1, 0.2), (0.3, float("nan"), 0.2)])
def test_a_number_that_changed_is_written_again_and_is_the_one_shown(open_logbook, client, values):
    for value in (*values, values[-1]):
        for _ in range(2):
            run = open_logbook().open_run("key", "run", {})
            run.note({"test/loss": value, "hp.width": 32})

    assert client.get_run(run.run_id).data.metrics == {"test/loss": 0.2, "hp.width": 32.0}
    assert len(points(client, run, "test/loss")) == 3
    assert len(points(client, run, "hp.width")) == 1


def test_a_run_ends_and_begins_again(open_logbook, client):
    run = open_logbook().open_run("key", "run", {})
    run.set_status("KILLED")
    assert client.get_run(run.run_id).info.status == "KILLED"

    open_logbook().open_run("key", "run", {}).set_status("RUNNING")
    assert client.get_run(run.run_id).info.status == "RUNNING"


def test_artifacts_lie_beside_the_database(open_logbook, client, uri, tmp_path):
    (tmp_path / "gates.json").write_text("{}")
    run = open_logbook().open_run("key", "run", {})
    run.attach([tmp_path / "gates.json"])

    assert [entry.path for entry in client.list_artifacts(run.run_id)] == ["gates.json"]
    assert client.get_run(run.run_id).info.artifact_uri.startswith(
        uri.replace("sqlite:///", "file://").replace("mlflow.db", "mlartifacts")
    )


def test_a_text_is_written_once_and_again_when_it_changes(open_logbook, monkeypatch):
    written = []
    monkeypatch.setattr(MlflowClient, "log_text", lambda _, run, text, name: written.append((run, name, text)))
    for text in ("a", "a", "b"):
        open_logbook().open_run("key", "run", {}).write("sheet.csv", text)

    assert [text for _, _, text in written] == ["a", "b"]


def test_a_text_can_be_read(open_logbook, client, tmp_path):
    run = open_logbook().open_run("key", "run", {})
    run.write("sheet.csv", "a,b\n1,2\n")

    assert Path(client.download_artifacts(run.run_id, "sheet.csv", tmp_path)).read_text() == "a,b\n1,2\n"


def test_the_default_is_a_database_in_the_working_directory(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    assert view_command(default_tracking_uri()) == f"mlflow ui --backend-store-uri sqlite:///{tmp_path}/mlflow.db"
