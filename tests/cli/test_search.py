import io
from dataclasses import replace
from pathlib import Path

import pytest
from finished_study import write_experiment
from rich.console import Console
from trial_records import make_matrix

from raytag.cli.arguments import studies_path, study_path
from raytag.cli.main import main
from raytag.cli.search import show, study_argument
from raytag.config.experiment import DataConfig, Experiment, SearchConfig
from raytag.config.space import SearchSpace
from raytag.errors import StudyError
from raytag.search.driver import Outcome
from raytag.search.folder import StudyFolder
from raytag.search.series import Ended


@pytest.fixture(autouse=True)
def working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("folder", "expected"),
    [("runs/tiny", "tiny"), ("studies/tiny", "studies/tiny"), ("runs/deeper/tiny", "runs/deeper/tiny")],
)
def test_the_next_command_finds_the_study(folder, expected):
    path = Path(folder).absolute()
    path.mkdir(parents=True)

    assert study_argument(path) == expected
    assert study_path(expected) == path


def test_a_folder_elsewhere_is_named_whole_and_quoted(tmp_path, monkeypatch):
    path = tmp_path / "my studies" / "tiny"
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")

    assert study_argument(path) == f"'{path}'"


def test_a_name_that_is_also_a_folder_here_is_not_enough(working_directory):
    (working_directory / "tiny").mkdir()

    assert study_argument(working_directory / "runs" / "tiny") == "runs/tiny"


@pytest.fixture
def outcome(tmp_path):
    """Return the outcome of a search of one width whose trials have these objectives, a row per replica."""

    def make(*matrices, **search):
        experiment = Experiment(
            name="tiny",
            data=DataConfig(train="train.h5", val="val.h5", norm_dict="norm_dict.yaml"),
            search=SearchConfig(space="space.yaml", trials_per_width=len(matrices), **search),
        )
        records = tuple(make_matrix(*rows, number=n, searched={"lr": 0.01}) for n, rows in enumerate(matrices))
        return Outcome(experiment, StudyFolder(tmp_path / "runs" / "tiny"), records, {}, "sqlite:///mlflow.db", 12.3)

    return make


def shown(outcome):
    console = Console(file=io.StringIO(), width=100)
    show(outcome, console)
    return console.file.getvalue().splitlines()


def test_a_search_of_members_ends_with_their_number_and_their_scatter(outcome):
    lines = shown(outcome([[0.49, 0.59], [0.51, 0.61]], [[0.7, 0.8], [0.7, 0.8]], replicas=2, folds=2))

    assert "2 trials × 4 members (2 complete) in 12 s; in all 0 worker-seconds, 0 TFLOP" in lines
    assert ("Noise:     w32-0000  0.014 over seeds, 0.070 over folds (standard deviations, 2 seeds × 2 folds)") in lines


def test_a_search_of_single_trainings_says_nothing_of_members(outcome):
    lines = shown(outcome([[0.5]], [[0.7]]))

    assert "2 trials (2 complete) in 12 s; in all 0 worker-seconds, 0 TFLOP" in lines
    assert not [line for line in lines if line.startswith("Noise") or "member" in line]


def test_the_end_says_how_the_groups_were_run(outcome):
    loop = {"executor": "loop", "compile": "off", "layout": "rows"}
    choice = {"width": 32, "slots": 4, "device": "cpu", "chosen": loop, "reason": "no other candidate", "figures": []}

    lines = shown(replace(outcome([[0.5]]), choices=(choice,)))

    assert "Executor:  width 32, 4 slots on cpu: loop, rows (no other candidate)" in lines


def test_after_a_population_the_best_model_is_what_is_left_to_take(outcome):
    (line,) = [line for line in shown(outcome([[0.5]], scheduler="pbt")) if line.startswith("Next:")]

    assert line.endswith("raytag extract tiny best")


@pytest.mark.parametrize("sampler", ["lr_grid", "fixed"])
def test_after_a_search_by_rule_its_report_is_next(outcome, sampler):
    (line,) = [line for line in shown(outcome([[0.5]], sampler=sampler)) if line.startswith("Next:")]

    assert line.endswith("raytag report tiny")


def test_a_search_of_nothing_shows_no_best_values(outcome):
    searched = outcome([[0.5]])
    fixed = replace(searched, records=(replace(searched.records[0], searched={}),))

    assert any("best values" in line for line in shown(searched))
    assert not any("best values" in line for line in shown(fixed))


@pytest.fixture
def search_of_two(outcome, monkeypatch, jets):
    """Run the command on a file that makes two studies, with these outcomes; None is one whose gates fail."""

    def search(*outcomes):
        write_experiment(Path.cwd(), jets)
        ended = [Ended((each or outcome([[0.5]])).experiment, each) for each in outcomes]
        asked = []
        monkeypatch.setattr(
            "raytag.search.series.search_series",
            lambda studies, *_, **options: (asked.append((studies, options)), ended)[1],
        )
        arguments = ["search", "tiny.yaml", "vary.training.num_steps=[10,20]", "--restart"]
        try:
            code = main(arguments)
        except SystemExit as exit_:
            code = exit_.code
        return code, asked[0]

    return search


def test_several_studies_are_searched_together_and_reported_together(search_of_two, outcome, capsys):
    code, (studies, options) = search_of_two(outcome([[0.5]]), outcome([[0.6]]))

    assert code == 0
    assert [experiment.name for experiment, _ in studies] == ["tiny-num_steps10", "tiny-num_steps20"]
    assert options["restart"] is True
    lines = capsys.readouterr().out.splitlines()
    assert "2 of 2 studies are complete" in lines
    assert lines[-1].endswith("raytag report tiny")


def test_what_is_missing_in_several_studies_is_named_and_exits_with_1(search_of_two, outcome, capsys):
    half = outcome([[0.5]], [[0.6]])

    code, _ = search_of_two(replace(half, num_unfinished=1), None)

    assert code == 1
    out = capsys.readouterr().out
    assert "0 of 2 studies are complete\n  tiny: unfinished trials: 1\n  tiny: a muP gate failed\n" in out
    assert "Next:" not in out


def test_a_folder_of_several_studies_names_them_to_choose_from(make_experiment_folders):
    make_experiment_folders("tiny-mup", "tiny-standard")

    with pytest.raises(
        StudyError, match=r"tiny: 2 studies lie in .*runs/tiny\. Name one of them: tiny-mup or tiny-standard\."
    ):
        study_path("tiny")
    assert studies_path("tiny") == Path("runs/tiny").absolute()
    assert study_path("tiny-mup") == Path("runs/tiny/tiny-mup").absolute()


@pytest.fixture
def make_experiment_folders(outcome):
    """Make folders of studies as ``vary`` does, in runs/tiny."""

    def make(*names):
        for name in names:
            experiment = outcome([[0.5]]).experiment.model_copy(
                update={"name": name, "output": Path("runs/tiny").absolute()}
            )
            StudyFolder(experiment.study_folder).prepare(experiment, SearchSpace({}))

    return make
