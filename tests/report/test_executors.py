import json

import pytest

from raytag.report.executors import choices_sheet, describe_choice, executor_tags
from raytag.training.executors.choice import Candidate, CandidateFigures, ExecutorChoice

LOOP, STACK = Candidate("loop", "off", "rows"), Candidate("vmap", "default", "static")


def choice(chosen, width=32, slots=4):
    figures = (CandidateFigures(LOOP, 0.0, 2.0, 1.9, 2.1), CandidateFigures(STACK, 1e-12, 1.0, 0.9, 1.1))
    return ExecutorChoice(width, slots, "cpu", chosen, "2.00 times as fast as loop, rows", figures)


@pytest.mark.parametrize("candidate", [LOOP, STACK])
def test_a_choice_is_called_what_its_executor_calls_it(candidate):
    line = describe_choice(choice(candidate).to_dict())

    assert line == f"width 32, 4 slots on cpu: {candidate.name} (2.00 times as fast as loop, rows)"


def test_tags_name_what_each_width_was_run_with():
    choices = [choice(STACK), choice(LOOP, slots=1), choice(LOOP, slots=2), choice(LOOP, width=64)]

    assert executor_tags([one.to_dict() for one in choices]) == {
        "executor.w32": "compiled vmap, static | loop, rows",
        "executor.w64": "loop, rows",
    }


def test_the_sheet_holds_the_figures_of_every_candidate():
    (read,) = json.loads(choices_sheet([choice(STACK).to_dict()]))

    assert ExecutorChoice.from_dict(read) == choice(STACK)
