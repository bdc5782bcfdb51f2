from io import StringIO

import pytest
from rich.console import Console

from raytag.transfer.folder import WideProgress
from raytag.transfer.progress import TrainingProgress

HISTORY = {step: {"val/objective": 1 + 1 / step} for step in (10, 20, 30)}


def until(step, **values):
    return WideProgress(step, 1.5, {each: HISTORY[each] for each in HISTORY if each <= step}, **values)


@pytest.fixture
def show(plan, folder):
    """Return what is printed while a folder's progress takes these values."""

    def show(*states, terminal=False):
        out = StringIO()
        console = Console(file=out, force_terminal=terminal, width=80)
        with TrainingProgress(console, plan, folder) as progress:
            for state in states:
                folder.write_progress(state)
                progress.update()
        return out.getvalue()

    return show


def test_each_validation_is_a_line(show):
    assert show(until(10, worker="a:1"), until(15, worker="a:1"), until(20, worker="a:1")).splitlines() == [
        "width 32: step 10/30, objective 1.1000",
        "width 32: step 20/30, objective 1.0500",
    ]


def test_a_lost_worker_is_told(show):
    printed = show(until(10, worker="a:1"), until(10, worker="a:2", first_step=10))

    assert printed.splitlines()[1:] == ["A worker was lost; the training goes on from step 10."]


def test_a_command_given_again_says_where_it_goes_on(show, folder):
    folder.write_progress(until(20, worker="a:1"))

    printed = show(until(20, worker="a:2", first_step=20), until(30, worker="a:2", first_step=20))

    assert printed.splitlines() == [
        "The training goes on from step 20.",
        "width 32: step 30/30, objective 1.0333",
    ]


def test_a_terminal_shows_a_bar_of_one_line(show):
    printed = show(until(15, worker="a:1"), terminal=True)

    assert "Training width 32" in printed
    assert "step 10/30" not in printed
