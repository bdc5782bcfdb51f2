"""The transfer as a user lives it: real commands, real jets, real signals."""

import os
import re
import signal

import pytest
from finished_study import COMPLETE, make_study
from mlflow.tracking import MlflowClient
from processes import PATIENCE_SECONDS, interrupt, kill, started, wait_for, wait_until
from ranks import run_ranks, train_wide
from row_states import same_bits

from raytag.training import checkpoint
from raytag.transfer.folder import WideFolder
from raytag.transfer.prepare import prepare_transfer
from raytag.transfer.target import Target
from raytag.transfer.worker import WideJob

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),  # mlflow's own queries
]

NUM_STEPS = 2000
NAME = f"w32-from-{COMPLETE}"


class Home:
    """A user's working directory with a finished study: the commands run in it, and what they leave."""

    def __init__(self, path, jets):
        self.path = path
        self.study = make_study(path, jets, num_steps=NUM_STEPS, evaluate_every=50)
        self.folder = WideFolder(self.study.path / "transfer" / NAME)

    def command(self):
        return started(["raytag", "transfer", "tiny", "--width", "32", "--workers", "2"], self.path)

    def run(self):
        with self.command() as process:
            printed, _ = process.communicate(timeout=PATIENCE_SECONDS)
        return process.returncode, printed

    def wait_for_checkpoint(self, process):
        """Wait until the run has saved one more checkpoint, and return its step."""
        before = max(self.folder.read_progress().history, default=0)
        wait_for(process, lambda: max(self.folder.read_progress().history, default=0) > before, "a checkpoint")
        return max(self.folder.read_progress().history)

    def mlflow_runs(self):
        client = MlflowClient(tracking_uri=f"sqlite:///{self.path}/mlflow.db")
        runs = client.search_runs([client.get_experiment_by_name("raytag").experiment_id])
        return {run.info.run_name: run for run in runs}

    def mlflow_status(self):
        run = self.mlflow_runs().get(NAME)
        return run and run.info.status


@pytest.fixture(scope="module")
def home(tmp_path_factory, jets):
    return Home(tmp_path_factory.mktemp("home"), jets)


@pytest.fixture(scope="module")
def undisturbed(home, tmp_path_factory):
    """The checkpoint of two workers to which nothing happened, without Ray."""
    plan = prepare_transfer(home.study, Target(32))
    folder = WideFolder(tmp_path_factory.mktemp("undisturbed") / NAME)
    folder.prepare(plan)
    assert run_ranks(train_wide, 2, WideJob(plan.experiment, plan.trial, folder)) == [None, None]
    return checkpoint.load(folder.checkpoint)


@pytest.fixture(scope="module")
def story(home):
    """One transfer through the deaths of a worker and of the driver and through Ctrl-C to its end, and once more."""
    traces = {}
    with home.command() as process:
        traces["step of the worker's death"] = home.wait_for_checkpoint(process)
        worker = home.folder.read_progress().worker
        os.kill(int(worker.rpartition(":")[2]), signal.SIGKILL)
        wait_until(lambda: home.folder.read_progress().worker != worker, "the workers' second start")
        traces["step of the second start"] = home.folder.read_progress().first_step
        home.wait_for_checkpoint(process)
        wait_until(lambda: home.mlflow_status() == "RUNNING", "the run in MLflow")
        traces["printed before the driver died"] = kill(process)

    with home.command() as process:
        home.wait_for_checkpoint(process)
        traces["Ctrl-C"] = interrupt(process)
    traces["status after Ctrl-C"] = home.mlflow_status()

    traces["exit code"], traces["printed"] = home.run()
    traces["runs"] = home.mlflow_runs()
    traces["exit code of the repetition"], traces["printed by the repetition"] = home.run()
    return traces


def test_a_run_with_two_deaths_and_an_interrupt_ends_bit_equal_to_an_undisturbed_one(story, home, undisturbed):
    assert story["exit code"] == 0, story["printed"]
    disturbed = checkpoint.load(home.folder.checkpoint)
    assert disturbed.state.step == NUM_STEPS
    assert same_bits(disturbed.state, undisturbed.state)
    assert without_seconds(disturbed.history) == without_seconds(undisturbed.history)


def without_seconds(history):
    return {
        step: {name: value for name, value in m.items() if not name.endswith("seconds")} for step, m in history.items()
    }


def test_the_death_of_a_worker_is_told_and_mended(story):
    assert story["step of the second start"] >= story["step of the worker's death"] > 0
    told = re.search(
        r"A worker was lost; the training goes on from step (\d+)", story["printed before the driver died"]
    )
    assert int(told[1]) == story["step of the second start"]


def test_ctrl_c_stops_at_once_with_one_line_and_no_orphans(story):
    ending = story["Ctrl-C"]
    assert ending.code == 130
    last_line = ending.printed.strip().splitlines()[-1]
    assert last_line == "Stopped. To go on: raytag transfer tiny --width 32 --workers 2"
    assert "Traceback" not in ending.printed
    assert ending.seconds < 15
    assert ending.orphans == []
    assert story["status after Ctrl-C"] == "KILLED"


def test_mlflow_has_the_run_once_and_whole(story, home):
    run, parent = story["runs"][NAME], story["runs"]["tiny"]

    assert set(story["runs"]) == {NAME, "tiny"}
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    client = MlflowClient(tracking_uri=f"sqlite:///{home.path}/mlflow.db")
    points = client.get_metric_history(run.info.run_id, "val/objective")
    assert [point.step for point in points] == list(range(50, NUM_STEPS + 1, 50))


def test_a_finished_transfer_shows_its_result_again_and_records_nothing_twice(story, home):
    assert story["exit code of the repetition"] == 0
    assert "Finished before" in story["printed by the repetition"]
    assert "workers of" not in story["printed by the repetition"]
    table = story["printed"].partition("test jets:")[2]
    assert story["printed by the repetition"].endswith(table)
    again = home.mlflow_runs()
    assert {name: run.data.metrics for name, run in again.items()} == {
        name: run.data.metrics for name, run in story["runs"].items()
    }


def test_the_last_screen_shows_both_models_and_fits_80_columns(story, home):
    printed = story["printed"]
    screen = [line for line in printed.splitlines() if str(home.path) not in line]

    for words in ("jet classification loss", "AUC, b against light", "light rejection at 70 % b-efficiency"):
        assert re.search(rf"{re.escape(words)}\s+[\d.]+.*\s[\d.]+", printed), words
    assert "loss difference on the same jets, wide - narrow" in printed
    assert f"mlflow ui --backend-store-uri sqlite:///{home.path}/mlflow.db" in printed
    assert max(map(len, screen)) <= 80


@pytest.mark.usefixtures("story")
def test_ray_train_leaves_nothing_in_the_folder(home):
    assert not home.folder.ray.exists()
    assert not list(home.folder.path.glob("*.partial"))
