"""`raytag report` reads studies in any state and writes what it found. The figures are tested with raytag.report.

The trials report losses of a known parabola; nothing is trained.
"""

import json
import math

import numpy as np
import pytest
import yaml
from finished_study import make_study

from raytag.cli.main import main
from raytag.config.load import load_experiments, load_space
from raytag.records import OBJECTIVE, TRAIN_FLOPS
from raytag.search.folder import StudyFolder
from raytag.search.study import Study

SPACE = {"lr": {"distribution": "log_uniform", "low": 2.0**-9, "high": 2.0**-4, "transfer": "yes"}}
DRIFT = {"mup": 0.0, "standard": -1.0}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def experiments_of(home, jets, **changes):
    """Read an experiment `curves` of learning rates at two widths."""
    files = {"train": "pp_output_train.h5", "val": "pp_output_val.h5", "norm_dict": "norm_dict.yaml"}
    experiment = {
        "name": "curves",
        "data": {key: str(jets / name) for key, name in files.items()} | {"cache": str(home / "cache")},
        "model": {"num_layers": 1, "num_heads": 2},
        "mup": {"base_width": 16},
        "training": {"num_steps": 30, "batch_size": 32, "evaluate_every": 30},
        "search": {
            "space": "space.yaml",
            "sampler": "lr_grid",
            "widths": [16, 64],
            "trials_per_width": 20,
            "replicas": 3,
        },
    }
    (home / "space.yaml").write_text(yaml.safe_dump(SPACE))
    (home / "curves.yaml").write_text(yaml.safe_dump(experiment | changes))
    return load_experiments(home / "curves.yaml")


def search(experiment, widths=(16, 64)):
    """Answer the trials of a study's widths with a parabola in log2(lr) around 2^-6, which drifts as it should."""
    space, folder = load_space(experiment.search.space), StudyFolder(experiment.study_folder)
    folder.prepare(experiment, space)
    study = Study.open(folder, experiment, space)
    rng = np.random.default_rng(1)
    for width in widths:
        doublings = math.log2(width / 16)
        best = -6 + doublings * DRIFT[experiment.mup.parametrisation]
        while study.num_to_ask(width):
            name = study.ask(width)
            losses = 0.9 - 0.05 * doublings + 0.03 * (math.log2(study.record(name).lr) - best) ** 2
            members = losses + 1e-3 * rng.normal(size=3)
            study.report(name, 30, [{OBJECTIVE: loss, TRAIN_FLOPS: width**2} for loss in members.tolist()])
    return folder


def test_a_study_of_learning_rates_and_its_control_get_a_verdict_and_three_files(home, jets, capsys):
    for experiment in experiments_of(home, jets, vary={"mup.parametrisation": ["mup", "standard"]}):
        search(experiment)

    assert main(["report", "curves"]) == 0

    out = capsys.readouterr().out
    folder = home / "runs" / "curves"
    assert "muP: optimum moves +0.0" in out
    assert "The control (standard) fails as it must: drift -1.0" in out
    assert "Verdict: The learning rate transfers from width 16 to 64.\n" in out
    assert out.endswith("".join(f"Written: {folder}/{name}\n" for name in ("transfer.png", "report.md", "report.json")))
    assert (folder / "transfer.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((folder / "report.json").read_text())["verdicts"]["muP"]["conclusion"] == "transfers"
    assert (folder / "report.md").read_text().startswith("# curves\n")


def test_one_study_of_several_is_reported_alone_into_another_folder(home, jets, capsys):
    for experiment in experiments_of(home, jets, vary={"mup.parametrisation": ["mup", "standard"]}):
        search(experiment)

    assert main(["report", "runs/curves/curves-standard", "-o", "elsewhere"]) == 0

    assert "Verdict: The learning rate does not transfer from width 16 to 64." in capsys.readouterr().out
    assert sorted(path.name for path in (home / "elsewhere").iterdir()) == ["report.json", "report.md", "transfer.png"]
    assert not (home / "runs" / "curves" / "curves-standard" / "transfer.png").exists()


def test_a_search_that_is_still_running_is_reported_as_far_as_it_is(home, jets, capsys):
    first, second = experiments_of(home, jets, vary={"mup.parametrisation": ["mup", "standard"]})
    folder = search(first, widths=(16,))
    study = Study.open(folder, first, load_space(first.search.space))
    study.ask(64)
    search(second, widths=())

    assert main(["report", "curves"]) == 0

    out = capsys.readouterr().out
    assert "Missing (muP): width 64: 1 trial is still running.\n" in out
    assert "Missing (standard): no trial has completed yet.\n" in out
    assert "Verdict: One width shows no transfer: it takes two (search.widths).\n" in out


def test_any_other_study_is_shown_as_its_search_does(home, jets, capsys):
    make_study(home, jets)

    assert main(["report", "tiny"]) == 0

    out = capsys.readouterr().out
    assert out.startswith("tiny: 3 trials\n")
    assert "w16-0000" in out
    assert out.endswith(f"Written: {home}/runs/tiny/loss_versus_lr.png\n")


def test_a_study_without_a_finished_trial_is_one_error(home, jets, capsys):
    (experiment,) = experiments_of(home, jets)
    search(experiment, widths=())

    assert main(["report", "curves"]) == 2

    assert capsys.readouterr().err.startswith(f"error: {home}/runs/curves: no trial has finished yet.")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("curvs", "Did you mean curves?"),
        ("empty", "no study here."),
        ("curves -o curves.yaml", "--output curves.yaml: this is a file. Name a folder."),
        ("curves -o curves.yaml/in", "cannot be written (Not a directory). Name another folder with -o."),
    ],
)
def test_a_mistake_is_one_error_and_exit_code_2(home, jets, error_of, words, message):
    (experiment,) = experiments_of(home, jets)
    search(experiment, widths=(16,))
    (home / "empty").mkdir()

    assert message in error_of("report", *words.split())


def fixed_grid(home, jets, steps=(10, 20, 40)):
    """Make the studies of a grid of sizes and lengths whose losses follow a law."""
    search = {"sampler": "fixed", "widths": [16, 32, 64], "replicas": 2}
    training = {"batch_size": 32, "evaluate_every": 10}
    for experiment in experiments_of(
        home, jets, search=search, training=training, vary={"training.num_steps": [*steps]}
    ):
        folder = StudyFolder(experiment.study_folder)
        folder.prepare(experiment, load_space(None))
        study = Study.open(folder, experiment, load_space(None))
        for width in experiment.search.widths:
            seen = 32 * experiment.training.num_steps
            loss = 0.6 + 20 * (50.0 * width**2) ** -0.5 + 5 * seen**-0.35
            sizes = {"num_parameters": 50.0 * width**2, TRAIN_FLOPS: 1e3 * width**2 * seen}
            members = [{OBJECTIVE: loss * error, **sizes} for error in (0.999, 1.001)]
            study.report(study.ask(width), experiment.training.num_steps, members)


def test_a_grid_of_fixed_trainings_is_reported_as_a_scaling_law(home, jets, capsys):
    fixed_grid(home, jets)

    assert main(["report", "curves"]) == 0

    folder = home / "runs" / "curves"
    values = json.loads((folder / "report.json").read_text())
    assert values["parameters"]["data_exponent"]["value"] == pytest.approx(0.35, rel=0.2)
    assert {cell["epochs"] for cell in values["cells"]} == {32 * steps / 1359 for steps in (10, 20, 40)}
    assert (folder / "scaling.png").exists()
    assert (folder / "report.md").exists()
    assert "describes 9 points" in capsys.readouterr().out


def test_a_grid_too_small_for_a_law_exits_with_2(home, jets, capsys):
    fixed_grid(home, jets, steps=(10, 20))

    assert main(["report", "curves"]) == 2
    assert "A scaling law needs at least 6 finished trainings" in capsys.readouterr().err
