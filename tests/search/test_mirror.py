import json
import re
from pathlib import Path
from threading import Event, Thread

import pytest
from mlflow.tracking import MlflowClient
from trial_records import make_record

from raytag.config.hyperparameters import Hyperparameters
from raytag.errors import RaytagError
from raytag.logbook import Logbook
from raytag.records import Move, TrialState
from raytag.search.mirror import StudyMirror

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # mlflow's own queries

HISTORY = {
    step: {"val/objective": 1 / step, "val/objective_stderr": 0.01, "val/loss": 2 / step, "seconds": step / 10}
    for step in (10, 20)
}


SHEET = """\
replica,fold 0,fold 1,fold 2,mean
0,0.05,1.05,2.05,1.05
1,3.05,4.05,5.05,4.05
mean,1.55,2.55,3.55,2.55
"""


def record(number, state=TrialState.COMPLETE, **changes):
    whole = {"state": state, "searched": {"lr": 2.0**-7, "alpha_output": 2.0}, "history": HISTORY, "worker": "worker-0"}
    return make_record(32, number, **whole | changes)


def record_of_members(number, **changes):
    """A trial of 2 replicas on 3 folds."""
    members = {
        step: tuple({"val/objective": m + 1 / step, "val/loss": 1.0, "val/vertexing_f1": 0.5} for m in range(6))
        for step in (10, 20)
    }
    return record(number, **{"members": members, "num_folds": 3} | changes)


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def prepared(folder, make_experiment, space, request):
    folder.prepare(make_experiment(**getattr(request, "param", {})), space)
    return folder


@pytest.fixture
def open_mirror(uri, request, prepared, warnings):
    folder = prepared
    return lambda uri=uri: StudyMirror(folder, uri, request.node.name, warnings.append)


@pytest.fixture
def runs(uri, request):
    """Return the runs of the test's experiment by name."""
    client = MlflowClient(tracking_uri=uri)

    def read():
        experiment = client.get_experiment_by_name(request.node.name)
        return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}

    return read


def test_trials_are_nested_runs_of_the_study(open_mirror, runs):
    open_mirror().sync([record(0), record(1)], {"mup.gates": "passed"})

    found = runs()
    assert sorted(found) == ["study", "w32-0000", "w32-0001"]
    assert found["w32-0000"].data.tags["mlflow.parentRunId"] == found["study"].info.run_id
    assert found["study"].data.tags["mup.gates"] == "passed"


def test_a_trials_run_holds_values_metrics_and_axes_for_plots(open_mirror, runs):
    open_mirror().sync([record(0)])

    data = runs()["w32-0000"].data
    assert data.params == {"lr": "0.0078125", "alpha_output": "2"}
    assert data.metrics["val/loss"] == 0.1
    assert data.metrics["objective"] == 0.05
    assert (data.metrics["hp.log2_lr"], data.metrics["hp.alpha_output"], data.metrics["hp.width"]) == (-7, 2, 32)
    assert (data.tags["state"], data.tags["width"], data.tags["worker"]) == ("complete", "32", "worker-0")


@pytest.mark.parametrize(
    ("state", "status"), [("running", "RUNNING"), ("complete", "FINISHED"), ("pruned", "KILLED"), ("failed", "FAILED")]
)
def test_a_runs_status_follows_the_trial(open_mirror, runs, state, status):
    open_mirror().sync([record(0, TrialState(state))])

    assert runs()["w32-0000"].info.status == status


def test_a_failed_trial_keeps_its_traceback(open_mirror, runs):
    open_mirror().sync([record(0, TrialState.FAILED, failure="ValueError: no\nTraceback ...")])

    assert runs()["w32-0000"].data.tags["failure"] == "ValueError: no\nTraceback ..."


def test_writing_again_adds_nothing(open_mirror, runs, uri):
    for _ in range(2):
        mirror = open_mirror()
        for _ in range(2):
            mirror.sync([record_of_members(0), record(1)])

    assert len(runs()) == 3
    client = MlflowClient(tracking_uri=uri)
    for metric, count in (("val/loss", 2), ("objective", 2), ("hp.log2_lr", 1), ("member/objective/r0f0", 2)):
        assert len(client.get_metric_history(runs()["w32-0000"].info.run_id, metric)) == count


def test_a_running_trial_grows_until_it_ends(open_mirror, runs, uri):
    open_mirror().sync([record(0, TrialState.RUNNING, history={10: HISTORY[10]})])
    open_mirror().sync([record(0)])

    run = runs()["w32-0000"]
    points = MlflowClient(tracking_uri=uri).get_metric_history(run.info.run_id, "val/loss")
    assert ([point.step for point in points], run.info.status) == ([10, 20], "FINISHED")


def test_a_study_of_the_same_name_made_anew_has_its_own_runs(open_mirror, runs, prepared, make_experiment, space):
    open_mirror().sync([record(0)])
    prepared.move_aside()
    prepared.prepare(make_experiment(), space)
    open_mirror().sync([record(0)])

    client = MlflowClient(tracking_uri=open_mirror().tracking_uri)
    parents = {
        run.data.tags.get("mlflow.parentRunId") for run in client.search_runs([runs()["study"].info.experiment_id])
    }
    assert len(parents - {None}) == 2


def test_a_server_that_is_away_is_warned_about_once_and_tried_again(open_mirror, warnings, runs, uri):
    mirror = open_mirror("http://127.0.0.1:9")
    assert not mirror.sync([record(0)])
    assert not mirror.sync([record(1)])
    assert len(warnings) == 1
    assert "MLflow at http://127.0.0.1:9 failed" in warnings[0]

    mirror.tracking_uri = uri
    assert mirror.sync()
    assert sorted(runs()) == ["study", "w32-0000", "w32-0001"]


@pytest.mark.parametrize("uri", ["mysql+nodriver://host/db", "postgresql:/db", "foo://host"])
def test_an_uri_that_can_never_work_is_refused_at_once(open_mirror, uri, warnings):
    with pytest.raises(RaytagError, match=rf"^mlflow\.tracking_uri {re.escape(uri)}: .+"):
        open_mirror(uri).open()

    assert warnings == []


def test_a_server_that_is_away_when_the_search_begins_is_only_warned_about(open_mirror, warnings):
    open_mirror("http://127.0.0.1:9").open()

    assert len(warnings) == 1


def test_the_driver_waits_for_a_thread_that_is_still_writing(open_mirror, runs, monkeypatch):
    entered = [Event(), Event()]

    def open_slowly(*arguments):
        first, second = entered
        (second if first.is_set() else first).set()
        second.wait(0.5)  # a second writer would come in
        return Logbook(*arguments)

    monkeypatch.setattr("raytag.search.mirror.Logbook", open_slowly)
    mirror = open_mirror()
    thread = Thread(target=mirror.sync, args=([record(0)],))
    thread.start()
    entered[0].wait()
    mirror.close("FINISHED", records=[record(0), record(1)])
    thread.join()

    assert not entered[1].is_set()
    assert sorted(runs()) == ["study", "w32-0000", "w32-0001"]


def test_a_closed_mirror_hears_no_latecomer(open_mirror, runs):
    mirror = open_mirror()
    mirror.close("FINISHED", records=[record(0)])
    mirror.sync([record(0, TrialState.RUNNING, history={10: HISTORY[10]})])

    assert runs()["w32-0000"].info.status == "FINISHED"


def test_every_members_objective_can_be_followed(open_mirror, runs, uri):
    open_mirror().sync([record_of_members(0)])

    run, client = runs()["w32-0000"], MlflowClient(tracking_uri=uri)
    points = client.get_metric_history(run.info.run_id, "member/objective/r1f2")
    assert [(point.step, point.value) for point in points] == [(10, 5.1), (20, 5.05)]
    members = [name for name in run.data.metrics if name.startswith("member/")]
    assert len(members) == 12  # the objective and the loss of six, and no figure that is looked at once


@pytest.mark.parametrize("prepared", [{"scheduler": "pbt", "population": 4, "trials_per_width": 4}], indirect=True)
@pytest.mark.parametrize("steps", [(20,), (10, 20)], ids=["written at the end", "followed"])
def test_the_values_of_a_population_can_be_followed_whenever_they_are_written(open_mirror, runs, uri, steps):
    moved = Hyperparameters(lr=2.0**-6, alpha_output=2.0)
    mirror = open_mirror()
    for step in steps:
        history = {at: metrics for at, metrics in HISTORY.items() if at <= step}
        moves = {10: Move("w32-0001", moved)} if step > 10 else {}
        mirror.sync([record(0, history=history, moves=moves, hyperparameters=moved)])

    client, run_id = MlflowClient(tracking_uri=uri), runs()["w32-0000"].info.run_id
    for name, values in (("hp.lr", [2.0**-7, 2.0**-6]), ("hp.log2_lr", [-7, -6])):
        points = client.get_metric_history(run_id, name)
        assert [(point.step, point.value) for point in points] == list(zip((10, 20), values, strict=True))


def test_a_finished_trial_has_its_matrix_as_a_sheet(open_mirror, runs, uri, tmp_path):
    open_mirror().sync([record_of_members(0), record_of_members(1, state=TrialState.RUNNING), record(2)])

    client, found = MlflowClient(tracking_uri=uri), runs()
    sheets = [[file.path for file in client.list_artifacts(found[f"w32-000{n}"].info.run_id)] for n in range(3)]
    assert sheets == [["members.csv"], [], []]
    sheet = client.download_artifacts(found["w32-0000"].info.run_id, "members.csv", tmp_path)
    assert Path(sheet).read_text() == SHEET


@pytest.mark.parametrize("prepared", [{"replicas": 2, "folds": 3, "reduction": "worst"}], indirect=True)
def test_the_study_says_what_its_trials_are_made_of(open_mirror, runs):
    open_mirror().sync()

    tags = runs()["study"].data.tags
    assert (tags["replicas"], tags["folds"], tags["reduction"]) == ("2", "3", "worst")
    assert "press Compare" in tags["mlflow.note.content"]


def test_the_end_of_a_study_brings_a_sheet_of_all_its_trials(open_mirror, runs, uri, tmp_path):
    mirror = open_mirror()
    mirror.sync([record_of_members(0), record_of_members(1)])
    mirror.close("KILLED", records=[record_of_members(1, state=TrialState.PRUNED)])

    sheet = MlflowClient(tracking_uri=uri).download_artifacts(runs()["study"].info.run_id, "trials.csv", tmp_path)
    rows = [line.split(",")[:3] for line in Path(sheet).read_text().splitlines()]
    assert rows == [["trial", "width", "state"], ["w32-0000", "32", "complete"], ["w32-0001", "32", "pruned"]]


def test_the_end_of_a_study_says_how_its_groups_were_run(open_mirror, runs, uri, tmp_path):
    loop = {"executor": "loop", "compile": "off", "layout": "rows"}
    choice = {"width": 32, "slots": 4, "device": "cpu", "chosen": loop, "reason": "no other candidate", "figures": []}
    open_mirror().close("FINISHED", choices=[choice])

    study = runs()["study"]
    sheet = MlflowClient(tracking_uri=uri).download_artifacts(study.info.run_id, "executors.json", tmp_path)
    assert study.data.tags["executor.w32"] == "loop, rows"
    assert json.loads(Path(sheet).read_text()) == [choice]


def test_the_end_of_a_study_brings_its_files(open_mirror, runs, folder, uri):
    mirror = open_mirror()
    mirror.sync([record(0)])
    mirror.close("FINISHED", [folder.experiment, folder.gates])

    study = runs()["study"]
    files = MlflowClient(tracking_uri=uri).list_artifacts(study.info.run_id)
    assert (study.info.status, [file.path for file in files]) == ("FINISHED", ["experiment.yaml", "trials.csv"])
