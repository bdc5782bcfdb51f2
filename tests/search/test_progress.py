from io import StringIO

import pytest
from rich.console import Console
from trial_records import make_record

from raytag.records import TrialState
from raytag.search.progress import SearchProgress

TO_ASK = {32: 4, 64: 5}  # six trials of each width


def record(width, number, state, step=40):
    history = {step: {"val/objective": 0.5, "val/objective_stderr": 0.01}}
    return make_record(width, number, state=state, searched={"lr": 0.01}, history=history)


@pytest.fixture
def records():
    return [
        record(32, 0, TrialState.COMPLETE),
        record(32, 1, TrialState.PRUNED, step=10),
        record(64, 0, TrialState.RUNNING, step=20),
    ]


def test_a_terminal_shows_a_table_by_width(records, make_experiment):
    progress = SearchProgress(Console(file=StringIO()), make_experiment())
    progress.update(records, workers=2, to_ask=TO_ASK)
    screen = Console(file=StringIO(), width=100)
    screen.print(progress.table())
    header, narrow, wide, bar = (line.split() for line in screen.file.getvalue().splitlines())

    assert header[:6] == ["width", "running", "complete", "pruned", "failed", "left"]
    assert narrow == ["32", "0", "1", "1", "0", "4", "0.500", "±", "0.010", "0.01"]
    assert wide == ["64", "1", "0", "0", "0", "5"]
    assert bar[1:3] == ["2/12", "trials"]
    assert bar[-2:] == ["2", "workers"]


def test_elsewhere_a_line_tells_what_is_done(records, make_experiment):
    out = StringIO()
    with SearchProgress(Console(file=out), make_experiment()) as progress:
        progress.update(records, workers=2, to_ask=TO_ASK)

    assert out.getvalue().startswith("2/12 trials  w32 0.500 ± 0.010")


def test_members_are_counted_apart_from_trials(records, make_experiment):
    progress = SearchProgress(Console(file=StringIO()), make_experiment(replicas=2, folds=3))
    progress.update(records, workers=2, to_ask=TO_ASK)

    assert progress.line().startswith("2/12 trials × 6 members  w32")


def test_a_grid_tells_what_is_known_of_it_and_that_more_may_come(records, make_experiment):
    progress = SearchProgress(Console(file=StringIO()), make_experiment(sampler="lr_grid"))
    progress.update(records, workers=2, to_ask={32: 0, 64: 1})
    assert progress.line().startswith("2/4+ trials  w32")

    progress.update([record(64, 0, TrialState.COMPLETE)], workers=2, to_ask={32: 0, 64: 0})
    assert progress.line().startswith("3/3 trials  w32")
