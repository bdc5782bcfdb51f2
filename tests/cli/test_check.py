"""`raytag check` shows the gates' figures and exits with their verdict. What the gates see is tested with them."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
from gate_figures import gate_figures
from strict_json import read_strictly

from raytag.cli.main import main
from raytag.config.load import load_experiments, load_space
from raytag.search.folder import StudyFolder, studies_in
from raytag.training import gates
from raytag.training.duplication_gate import EVERY_COMBINATION
from raytag.workloads import open_workload

SMOKE = Path(__file__).parents[2] / "experiments" / "smoke.yaml"


@pytest.fixture
def verdict(monkeypatch, tmp_path):
    """Replace the gates by a verdict; the returned object keeps what they were asked."""
    monkeypatch.chdir(tmp_path)
    verdict = SimpleNamespace(passes=lambda _experiment: True, slope=0.8, asked=[])

    def run_gates(opener, experiment, *, combinations, tell):
        verdict.asked.append((opener, experiment, combinations))
        for gate, what in (("duplication", "adamw"), ("duplication", "sgd"), ("coordinates", "several widths")):
            tell(gate, what)
        passed = verdict.passes(experiment)
        figures = gate_figures(faults={} if passed else {"embed (change)": verdict.slope})
        return SimpleNamespace(passed=passed, lines=lambda: ["muP gates", "  figures"], to_dict=lambda: figures)

    monkeypatch.setattr(gates, "run_gates", run_gates)
    return verdict


def test_gates_that_pass_exit_with_0_after_their_tables(verdict, capsys):
    assert main(["check", str(SMOKE), "model.num_layers=3"]) == 0

    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[:2] == ["Checking muP: duplication ...", "Checking muP: coordinates ..."]
    assert [line.split()[0] for line in lines if line and line.split()[0] in ("module", "duplication")] == [
        "module",
        "duplication",
    ]
    assert lines[-4:-2] == ["muP gates", "  figures"]
    assert err == ""
    [(opener, experiment, combinations)] = verdict.asked
    assert opener is open_workload
    assert experiment.model.num_layers == 3
    assert combinations == EVERY_COMBINATION


def test_gates_that_fail_exit_with_1_after_their_figures(verdict, capsys):
    verdict.passes = lambda _experiment: False

    assert main(["check", str(SMOKE)]) == 1

    out, err = capsys.readouterr()
    assert "+0.80" in out
    assert "Written: " in out
    assert err == f"error: {SMOKE}: the muP gates failed, so its hyperparameters would not transfer.\n"


@pytest.mark.usefixtures("verdict")
def test_figures_and_picture_lie_where_the_user_says(tmp_path):
    assert main(["check", str(SMOKE), "-o", "here"]) == 0

    assert json.loads((tmp_path / "here" / "gates.json").read_text()) == gate_figures()
    assert (tmp_path / "here" / "coordinates.png").stat().st_size > 0
    assert not (tmp_path / "runs").exists()


def test_the_figures_of_trainings_that_broke_are_json_for_strict_readers(verdict, tmp_path):
    verdict.passes, verdict.slope = lambda _experiment: False, math.inf

    assert main(["check", str(SMOKE), "-o", "here"]) == 1

    coordinates = read_strictly(tmp_path / "here" / "gates.json")["coordinates"]
    assert coordinates["change"]["embed"] == "infinite"
    assert coordinates["log2_sizes"]["embed"]["change"] == [None, "infinite", "infinite"]


@pytest.mark.usefixtures("verdict")
def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path, capsys):
    (tmp_path / "file").write_text("")

    assert main(["check", str(SMOKE), "-o", "file/in"]) == 2
    assert "file/in: cannot be written (Not a directory). Name another folder with -o." in capsys.readouterr().err


@pytest.mark.usefixtures("verdict")
def test_a_check_leaves_no_study_behind():
    assert main(["check", str(SMOKE)]) == 0

    [experiment] = load_experiments(SMOKE, [])
    study = StudyFolder(experiment.study_folder)
    assert (study.path / "check" / "gates.json").exists()
    assert studies_in(study.path) == studies_in(study.path.parent) == {}
    assert not study.gates.exists(), "the search's own verdict, which it would trust"
    study.prepare(experiment, load_space(experiment.search.space))  # as a search does
    assert studies_in(study.path) == {"": study}


def test_data_is_checked_before_the_gates_run(verdict, tmp_path):
    (tmp_path / "val.h5").write_bytes(b"no h5 file")

    assert main(["check", str(SMOKE), f"data.val={tmp_path}/val.h5"]) == 2
    assert not verdict.asked


def test_of_several_studies_each_model_is_checked_once_and_controls_are_not(verdict, tmp_path, capsys):
    verdict.passes = lambda experiment: "layers2" not in experiment.name
    vary = "vary={mup.parametrisation: [mup, standard], model.num_layers: [2, 3], training.num_steps: [20, 30]}"

    assert main(["check", str(SMOKE), vary, "-o", "here"]) == 1

    names = ["smoke-mup-num_layers2-num_steps20", "smoke-mup-num_layers3-num_steps20"]
    assert [experiment.name for _, experiment, _ in verdict.asked] == names
    assert [line for line in capsys.readouterr().out.splitlines() if line[:5] == "smoke"] == [f"{n}:" for n in names]
    assert [json.loads((tmp_path / "here" / name / "gates.json").read_text())["passed"] for name in names] == [
        False,
        True,
    ]


def test_studies_that_skip_the_gates_are_checked_all_the_same(verdict):
    assert main(["check", str(SMOKE), "mup.skip_check=true", "vary.model.num_layers=[2,3]"]) == 0

    assert [experiment.name for _, experiment, _ in verdict.asked] == ["smoke-num_layers2", "smoke-num_layers3"]


def test_a_lone_control_is_checked_all_the_same(verdict):
    main(["check", str(SMOKE), "mup={parametrisation: standard, skip_check: true}"])

    assert verdict.asked
