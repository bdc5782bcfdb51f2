import io

import pytest
from rich.console import Console

from raytag.records import TrialState, are_tied, best_trials
from raytag.report.trials import format_objective, tabulate_best, tabulate_ranking


def shown(table, columns=80):
    console = Console(width=columns, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()


def test_only_completed_trials_are_ranked_lowest_first(make_record):
    records = [
        make_record(32, 0, 0.5),
        make_record(32, 1, 0.1, state=TrialState.PRUNED),
        make_record(32, 2, 0.4),
        make_record(64, 0, 0.3),
    ]

    assert [record.name for record in best_trials(records, 32)] == ["w32-0002", "w32-0000"]


def test_trials_closer_than_their_combined_error_are_tied(make_record):
    best, near, far = (make_record(32, number, value) for number, value in enumerate([0.500, 0.513, 0.515]))

    assert are_tied(best, near)  # sqrt(2) * 0.01 = 0.0141
    assert not are_tied(best, far)


def test_the_table_marks_ties_with_the_best_of_the_same_width(make_record):
    records = [make_record(32, 0, 0.500), make_record(32, 1, 0.505), make_record(32, 2, 0.6), make_record(64, 0, 0.505)]
    table = shown(tabulate_ranking(records))

    marked = [line.split()[0] for line in table.splitlines() if "≈" in line and line.startswith("w")]
    assert marked == ["w32-0001"]


def test_the_ranking_shows_objective_and_learning_rate(make_record):
    table = shown(tabulate_ranking([make_record(32, 0, 0.5, lr=0.00123)]))

    line = next(line for line in table.splitlines() if line.startswith("w32"))
    assert line.split() == ["w32-0000", "0.500", "±", "0.010", "0.00123"]


def test_the_best_values_of_all_widths_stand_side_by_side(make_record):
    records = [make_record(32, 0, 0.5, lr=0.001), make_record(32, 1, 0.4, lr=0.002), make_record(64, 0, 0.3, lr=0.004)]

    assert [line.split() for line in shown(tabulate_best(records)).splitlines()] == [
        ["best", "values", "width", "32", "width", "64"],
        ["lr", "0.002", "0.004"],
        ["alpha_output", "2", "2"],
    ]


def test_a_width_without_a_completed_trial_is_left_out(make_record):
    table = shown(tabulate_best([make_record(32, 0, 0.5), make_record(64, 0, 0.4, state=TrialState.PRUNED)]))

    assert "width 64" not in table


@pytest.mark.parametrize(
    ("objective", "stderr", "text"),
    [(1.23456, 0.0123, "1.235 ± 0.012"), (0.5, 0.1, "0.50 ± 0.10"), (0.123456, float("nan"), "0.12346")],
)
def test_an_objective_has_the_digits_its_error_allows(make_record, objective, stderr, text):
    assert format_objective(make_record(32, 0, objective, stderr=stderr)) == text
