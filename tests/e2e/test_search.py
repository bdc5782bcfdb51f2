"""The search as a user lives it: real commands, real jets, real signals."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from mlflow.tracking import MlflowClient
from processes import PATIENCE_SECONDS, descendants, interrupt, is_alive, kill, started, wait_for, wait_until

from raytag.records import TrialState
from raytag.search.folder import StudyFolder
from raytag.search.study import Study

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),  # mlflow's own queries
]

NUM_TRIALS = 8
NUM_STEPS = 2000  # so many that a fast machine is still training when it is interrupted
SPACE = {
    "lr": {"distribution": "log_uniform", "low": 1e-3, "high": 3e-2, "transfer": "yes"},
    "alpha_output": {"distribution": "log_uniform", "low": 0.5, "high": 4, "transfer": "yes"},
}


class Home:
    """A user's working directory: the experiment file, the commands run in it, and what they leave."""

    def __init__(self, path, jets):
        self.path = path
        files = {"train": "pp_output_train.h5", "val": "pp_output_val.h5", "norm_dict": "norm_dict.yaml"}
        experiment = {
            "name": "tiny",
            "data": {key: str(jets / name) for key, name in files.items()} | {"cache": str(path / "cache")},
            "model": {"num_layers": 1, "num_heads": 2, "tasks": ["jet_classification"]},
            "mup": {"base_width": 16, "skip_check": True},
            "training": {"num_steps": NUM_STEPS, "batch_size": 32, "evaluate_every": 50},
            "search": {"space": "space.yaml", "widths": [16], "trials_per_width": NUM_TRIALS, "sampler": "random"},
            "resources": {"num_workers": 2, "slots": 2},
        }
        (path / "tiny.yaml").write_text(yaml.safe_dump(experiment))
        (path / "space.yaml").write_text(yaml.safe_dump(SPACE))
        self.folder = StudyFolder(path / "runs" / "tiny")

    def command(self, *arguments):
        return started([sys.executable, "-m", "raytag.search", "tiny.yaml", *arguments], self.path)

    def run(self, *arguments):
        with self.command(*arguments) as process:
            printed, _ = process.communicate(timeout=PATIENCE_SECONDS)
        return process.returncode, printed

    def records(self):
        return {record.name: record for record in Study.load(self.folder).records()}

    def wait_for_reports(self, number, process):
        """Wait until the study has grown by some reports."""
        goal = self.num_reports() + number
        wait_for(process, lambda: self.num_reports() >= goal, f"{number} more reports")

    def num_reports(self):
        return self.folder.journal.read_text().count('"metrics:') if self.folder.journal.exists() else 0


@pytest.fixture(scope="module")
def home(tmp_path_factory, jets):
    return Home(tmp_path_factory.mktemp("home"), jets)


@pytest.fixture(scope="module")
def story(home):
    """One study through a worker's death, the driver's death and Ctrl-C to its end. Each chapter leaves its traces."""
    traces = {}
    with home.command() as process:
        home.wait_for_reports(8, process)
        workers = [pid for pid, title in descendants(process.pid).items() if "ImplicitFunc" in title]
        os.kill(workers[0], signal.SIGKILL)
        wait_until(lambda: any(record.is_finished for record in home.records().values()), "a finished trial")
        traces["printed before the driver died"] = kill(process)
    traces["after the driver died"] = home.records()

    with home.command() as process:
        home.wait_for_reports(8, process)
        traces["Ctrl-C"] = interrupt(process)
    traces["after Ctrl-C"] = home.records()

    traces["exit code"], traces["printed"] = home.run()
    traces["at the end"] = home.records()
    return traces


def test_the_same_command_finishes_what_two_crashes_and_an_interrupt_left(story):
    assert story["exit code"] == 0, story["printed"]
    assert len(story["at the end"]) == NUM_TRIALS
    assert {record.state for record in story["at the end"].values()} == {TrialState.COMPLETE}


@pytest.mark.parametrize("chapter", ["after the driver died", "after Ctrl-C"])
def test_no_finished_trial_is_lost_or_repeated(story, chapter):
    finished = {name: record for name, record in story[chapter].items() if record.is_finished}

    assert finished
    assert {name: story["at the end"][name] for name in finished} == finished


@pytest.mark.parametrize("chapter", ["after the driver died", "after Ctrl-C"])
def test_unfinished_trials_go_on_from_their_last_report(story, chapter):
    begun = {name: record for name, record in story[chapter].items() if not record.is_finished and record.history}

    assert begun
    for name, record in begun.items():
        end = story["at the end"][name]
        assert {step: end.history[step] for step in record.history} == record.history
        assert end.searched == record.searched


def test_the_death_of_a_worker_is_told_and_mended(story):
    assert re.search(
        r"worker-\d was lost \(its process died\); it is started again", story["printed before the driver died"]
    )


def test_ctrl_c_stops_at_once_with_one_line_and_no_orphans(story):
    ending = story["Ctrl-C"]
    assert ending.code == 130
    assert "Stopped. To go on: raytag search tiny.yaml" in ending.printed.splitlines()
    assert "Traceback" not in ending.printed
    assert ending.seconds < 15
    assert ending.orphans == []


def test_mlflow_has_every_trial_once_and_whole(story, home):
    client = MlflowClient(tracking_uri=f"sqlite:///{home.path}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("raytag").experiment_id])
    trials = {run.info.run_name: run for run in runs if run.data.tags["raytag.kind"] == "trial"}

    assert len(runs) == NUM_TRIALS + 1
    for name, record in story["at the end"].items():
        points = client.get_metric_history(trials[name].info.run_id, "val/objective")
        assert [point.step for point in points] == list(record.history)
        assert trials[name].info.status == "FINISHED"


def test_the_last_screen_shows_the_best_trials_and_what_to_type_next(story, home):
    best = min(story["at the end"].values(), key=lambda record: record.objective)

    assert best.name in story["printed"]
    assert f"mlflow ui --backend-store-uri sqlite:///{home.path}/mlflow.db" in story["printed"]
    assert "Next:      raytag transfer tiny --width 32" in story["printed"].splitlines()
    assert home.folder.picture.stat().st_size > 10_000


def test_a_typing_mistake_ends_before_ray_starts(home, story):
    code, printed = home.run("training.num_step=5")

    assert code == 2
    assert "training.num_step" in printed
    assert "num_steps" in printed
    assert "Traceback" not in printed
    assert home.records() == story["at the end"]


def test_other_settings_for_the_same_study_are_refused(home, story):
    code, printed = home.run("training.num_steps=100")

    assert code == 2
    assert "training.num_steps: the study has 2000, now 100" in printed
    assert home.records() == story["at the end"]


@pytest.fixture
def cluster(tmp_path_factory):
    """A head and a second node of one core each, with a port and a folder of their own; ended by their process ids."""
    port = 20_000 + os.getpid() % 10_000
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    folder = Path(f"/tmp/raytag-e2e-{os.getpid()}")
    common = ["--block", "--num-cpus=1", "--object-store-memory=100000000", f"--temp-dir={folder}"]
    head = ["start", "--head", f"--port={port}", "--include-dashboard=false", *common]
    join = ["start", f"--address=127.0.0.1:{port}", *common[:-1]]
    ray = str(Path(sys.executable).with_name("ray"))
    processes = []
    for arguments in (head, join):
        log = (tmp_path_factory.mktemp("ray") / "out").open("w")
        processes.append(
            subprocess.Popen([ray, *arguments], env=environment, stdout=log, stderr=log, start_new_session=True)
        )
        wait_until(lambda log=log: "Ray runtime started" in Path(log.name).read_text(), "a node")
        log.close()
    yield f"127.0.0.1:{port}"
    for process in reversed(processes):
        below = descendants(process.pid)
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        for pid in below:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


def test_the_search_runs_unchanged_on_a_cluster_of_two_nodes(cluster, tmp_path, jets, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    home = Home(tmp_path, jets)
    code, printed = home.run("--address", cluster, "search.trials_per_width=4", "mup.skip_check=false")

    assert code == 0, printed
    assert "2 workers of 1 CPU on 2 nodes" in printed
    assert {record.worker for record in home.records().values()} == {"worker-0", "worker-1"}
    assert json.loads(home.folder.gates.read_text())["passed"] is True
