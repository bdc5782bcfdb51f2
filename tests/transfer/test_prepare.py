import subprocess
import sys
from pathlib import Path

import pytest
from finished_study import COMPLETE, FAILED, RUNNING, make_study

from raytag.cli.main import main
from raytag.config.hyperparameters import Hyperparameters
from raytag.errors import DataError, StudyError
from raytag.records import OBJECTIVE, TrialRecord, TrialState
from raytag.search.folder import StudyFolder
from raytag.transfer.prepare import choose_source, prepare_transfer
from raytag.transfer.target import Target


def record(name, objective, state=TrialState.COMPLETE):
    return TrialRecord(
        name=name,
        width=int(name[1:3]),
        number=int(name[-4:]),
        seed=0,
        state=state,
        searched={},
        hyperparameters=Hyperparameters(),
        history={10: {OBJECTIVE: objective}},
    )


RECORDS = [
    record("w32-0000", 1.2),
    record("w32-0001", 0.8, TrialState.PRUNED),
    record("w64-0000", 1.1),
    record("w64-0001", 1.3),
]


def test_the_best_completed_trial_of_all_widths_is_widened():
    assert choose_source(RECORDS, None).name == "w64-0000"


def test_a_named_trial_is_widened():
    assert choose_source(RECORDS, "w64-0001").name == "w64-0001"


def test_a_pruned_trial_cannot_be_widened():
    with pytest.raises(StudyError, match=r"^w32-0001: this trial is pruned; only a completed one .* w64-0000"):
        choose_source(RECORDS, "w32-0001")


def test_a_study_without_a_completed_trial_is_told():
    with pytest.raises(StudyError, match="no trial of the study has completed yet"):
        choose_source([record for record in RECORDS if record.state is TrialState.PRUNED], None)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"width": 36}, "--width 36: width 36 is not a multiple of 8, which divides the task heads."),
        ({"width": 4}, "--width 4: width 4 is not a multiple of 8, which divides the task heads. Nearest widths: 8."),
        ({"width": -8}, "--width -8: expected a number above 0."),
        ({"num_workers": 0}, "--workers 0: expected a number above 0."),
        ({"num_workers": 33}, "--workers 33: a batch has 32 jets, and each worker needs at least one."),
        ({"num_layers": 0}, "--layers 0: expected a number above 0."),
        ({"batch_size": -1}, "--batch-size -1: expected a number above 0."),
        (
            {"num_workers": 17, "batch_size": 16},
            "--workers 17: a batch has 16 jets, and each worker needs at least one.",
        ),
        ({"without_rules": {"depth"}}, "--without-rule depth: no effect without another --layers than the study's."),
        (
            {"without_rules": {"steps"}, "num_steps": 30},
            "--without-rule steps: no effect without another number of jets in all (--steps times --batch-size)",
        ),
        ({"num_steps": 0}, "--steps 0: expected a number above 0."),
        ({"num_steps": 5}, "--steps 5: fewer than training.evaluate_every (10) of the study."),
        ({"trial": "w16-0009"}, f"w16-0009: the study has no such trial. Its best one is {COMPLETE}."),
        ({"trial": FAILED}, f"{FAILED}: this trial is failed; only a completed one can be widened."),
        ({"trial": RUNNING}, f"{RUNNING}: this trial is running; only a completed one can be widened."),
    ],
)
def test_an_option_that_does_not_fit_is_told_by_its_name(finished, options, line):
    settings = {name: options[name] for name in ("trial", "num_workers") if name in options}
    target = Target(**{"width": 32} | {name: value for name, value in options.items() if name not in settings})

    with pytest.raises(StudyError) as caught:
        prepare_transfer(finished, target, **settings)

    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("num_steps", "beginning"),
    [
        (42, None),  # 1,344 of 1,359 jets
        (60, "each of the 1,359 training jets is seen 1.41 times; every rule takes repeated jets for new ones"),
        (17000, "Warning: each of the 1,359 training jets is seen 400 times; every rule takes repeated jets for new"),
    ],
)
def test_how_often_jets_are_repeated_is_noted_and_warned_of(finished, num_steps, beginning):
    notes = prepare_transfer(finished, Target(32, num_steps=num_steps)).notes

    assert [note[: len(beginning or "")] for note in notes] == ([beginning] if beginning else [])


def test_a_folder_without_a_study_is_told(tmp_path):
    with pytest.raises(StudyError, match=f"{tmp_path}/runs/gone: no study here"):
        prepare_transfer(StudyFolder(tmp_path / "runs" / "gone"), Target(32))


def test_a_missing_checkpoint_is_told(study):
    study.checkpoint(COMPLETE).unlink()

    with pytest.raises(StudyError, match=f"{study.checkpoint(COMPLETE)}: no such file.*--trial"):
        prepare_transfer(study, Target(32))


def test_data_files_that_are_gone_are_told(tmp_path, jets):
    for file in jets.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    study = make_study(tmp_path, tmp_path)
    for name in ("pp_output_train.h5", "pp_output_test_ttbar.h5"):
        (tmp_path / name).unlink()

    with pytest.raises(DataError) as caught:
        prepare_transfer(study, Target(32))

    assert [problem.file.name for problem in caught.value.problems] == ["pp_output_train.h5", "pp_output_test_ttbar.h5"]


def test_the_command_prints_one_line_and_exits_with_2(home, monkeypatch, capsys):
    monkeypatch.chdir(home)

    assert main(["transfer", "tiny", "--width", "36"]) == 2

    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        "error: --width 36: width 36 is not a multiple of 8, which divides the task heads. Nearest widths: 32, 40."
    ]


def test_mistakes_are_found_before_ray_and_torch_are_loaded(finished):
    code = (
        "import sys; from pathlib import Path; from raytag.search.folder import StudyFolder; "
        "from raytag.transfer.prepare import prepare_transfer; from raytag.transfer.target import Target; "
        "prepare_transfer(StudyFolder(Path(sys.argv[1])), Target(32)); "
        "print({'ray', 'torch', 'mlflow'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(finished.path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )

    assert run.stdout.strip() == "set()"
