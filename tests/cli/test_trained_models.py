"""What may stand for a trained model on the command line, told by the model that is found."""

import argparse
from dataclasses import replace

import pytest
from finished_study import COMPLETE, make_study, make_wide_run
from mlflow.tracking import MlflowClient

from raytag.cli.extract import add_parser
from raytag.cli.main import main
from raytag.cli.trained_models import model_of
from raytag.search.mirror import StudyMirror
from raytag.search.study import Study
from raytag.transfer.plan import Start
from raytag.transfer.prepare import prepare_transfer
from raytag.transfer.record import WideMirror
from raytag.transfer.target import Target

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # mlflow's own queries

WIDE, CONTINUED = f"w16-from-{COMPLETE}", f"w16-continued-from-{COMPLETE}"


@pytest.fixture(scope="module")
def made(tmp_path_factory, jets):
    """A working directory with a study, a wide run of it and a narrow model continued, all recorded in MLflow."""
    path = tmp_path_factory.mktemp("home")
    study = make_study(path, jets)
    StudyMirror(study, f"sqlite:///{path}/mlflow.db", "raytag", [].append).sync(Study.load(study).records())
    plan = prepare_transfer(study, Target(16))
    for each in (plan, replace(plan, start=Start("continued"))):
        WideMirror(each, study, make_wide_run(study, each), [].append).sync()
    return path


@pytest.fixture(scope="module")
def run_ids(made):
    """The ids of the runs in MLflow by their names."""
    client = MlflowClient(tracking_uri=f"sqlite:///{made}/mlflow.db")
    experiment = client.get_experiment_by_name("raytag")
    return {run.info.run_name: run.info.run_id for run in client.search_runs([experiment.experiment_id])}


@pytest.fixture(autouse=True)
def home(made, monkeypatch):
    monkeypatch.chdir(made)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return made


@pytest.fixture
def find():
    """Return the name of the model that words mean."""
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    return lambda *words: model_of(parser.parse_args(["extract", *words])).trial.name


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("tiny", COMPLETE),
        ("tiny best", COMPLETE),
        (f"tiny {COMPLETE}", COMPLETE),
        (f"tiny:{COMPLETE}", COMPLETE),
        (f"runs/tiny:{COMPLETE} {COMPLETE}", COMPLETE),
        ("tiny:best --width 16", COMPLETE),
        (f"runs/tiny/transfer/{WIDE}", WIDE),
        (f"runs/tiny/transfer/{CONTINUED}", CONTINUED),
    ],
)
def test_a_model_is_known_by_its_study_trial_or_folder(find, words, name):
    assert find(*words.split()) == name


@pytest.mark.parametrize(
    ("run", "name"), [("tiny", COMPLETE), (COMPLETE, COMPLETE), (WIDE, WIDE), (CONTINUED, CONTINUED)]
)
def test_a_run_in_mlflow_means_its_own_model(find, run_ids, run, name):
    assert find(run_ids[run]) == name


def test_a_trial_of_a_study_s_run_may_be_named(find, run_ids):
    assert find(run_ids["tiny"], COMPLETE) == COMPLETE


def test_mlflow_may_lie_elsewhere(find, run_ids, home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert find(run_ids[WIDE], "--tracking-uri", f"sqlite:///{home}/mlflow.db") == WIDE


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (f"tiny:{COMPLETE} w16-0001", f"TRIAL w16-0001: tiny:{COMPLETE} is trial {COMPLETE} already. Leave one out."),
        (f"{{{COMPLETE}}} best", f"TRIAL best: {{{COMPLETE}}} is trial {COMPLETE} already. Leave one out."),
        (f"{{{WIDE}}} best", f"TRIAL best: {{{WIDE}}} is a wide run, which holds one model. Leave it out."),
        (f"tiny:{COMPLETE} --width 32", f"--width 32: {COMPLETE} has width 16. Leave --width out."),
        ("tiny:w16-0009", "w16-0009: the study has no such trial. Did you mean w16-0002?"),
        ("{w16-0001}", "it failed (the loss became nan), and a failed trial's checkpoint is not kept"),
        (f"{'0' * 32}", f"{'0' * 32}: MLflow at sqlite:///{{home}}/mlflow.db has no such run (--tracking-uri)."),
    ],
)
def test_a_mistake_is_one_error_and_exit_code_2(home, run_ids, error_of, words, message):
    files = list(home.iterdir())

    error = error_of("extract", *words.format(**run_ids).split())

    assert message.format(**run_ids, home=home) in error
    assert list(home.iterdir()) == files


@pytest.mark.parametrize("named", [WIDE, COMPLETE, f"tiny:{COMPLETE}"])
def test_one_model_is_no_study_to_average(run_ids, capsys, named):
    named = run_ids.get(named, named)

    assert main(["ensemble", named, "--top", "1"]) == 2

    message = f"error: {named}: this is one model of the study tiny. Give the study alone.\n"
    assert capsys.readouterr().err == message


@pytest.mark.parametrize(
    ("named", "weights"),
    [
        (COMPLETE, ""),
        ("best", ""),
        (f"tiny:{COMPLETE}", ""),
        (f"{{{COMPLETE}}}", ""),
        ("{tiny}", ""),
        (f"tiny/transfer/{WIDE}", f"-{WIDE}"),
        (f"{{{WIDE}}}", f"-{WIDE}"),
        (f"{{{CONTINUED}}}", f"-{CONTINUED}"),
        ("tiny.pt", ""),
    ],
)
def test_a_warm_start_takes_whatever_means_a_model(run_ids, capsys, named, weights):
    main(["extract", "tiny", "-o", "tiny.pt", "--force"])

    assert main(["transfer", "tiny", "--width", "32", "--warm-start", named.format(**run_ids), "--dry-run"]) == 0

    assert capsys.readouterr().out.endswith(f"/tiny/transfer/w32-warm{weights}-from-{COMPLETE}\n")


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("w16-0009", "error: w16-0009: the study has no such trial. Did you mean w16-0002?"),
        ("tiny:w16-0009", "error: w16-0009: the study has no such trial. Did you mean w16-0002?"),
        ("tin", "error: tin: no study of this name in "),
        ("0" * 32, f"error: {'0' * 32}: MLflow at "),
    ],
)
def test_a_warm_start_from_nothing_is_told(error_of, named, message):
    assert error_of("transfer", "tiny", "--width", "32", "--warm-start", named).startswith(message)
