import csv
from dataclasses import replace

from raytag.records import Move, TrialState
from raytag.report.sheets import sheet_of_members, sheet_of_trials


def rows(sheet):
    """Return a sheet's rows by the content of their first cell."""
    return {row[next(iter(row))]: row for row in csv.DictReader(sheet.splitlines())}


def test_a_trials_sheet_is_its_matrix_with_the_means_of_both_sides(make_matrix):
    sheet = sheet_of_members(make_matrix(32, 0, [0.5, 0.6], [0.7, 0.8]))

    assert sheet == "replica,fold 0,fold 1,mean\n0,0.5,0.6,0.55\n1,0.7,0.8,0.75\nmean,0.6,0.7,0.65\n"


def test_completed_trials_come_first_and_best_first_in_each_width(make_record):
    sheet = sheet_of_trials(
        [
            make_record(64, 0, 0.3),
            make_record(32, 0, 0.5),
            make_record(32, 1, 0.1, state=TrialState.PRUNED),
            make_record(32, 2, 0.4),
            make_record(32, 3, None, state=TrialState.FAILED),
        ]
    )

    assert list(rows(sheet)) == ["w32-0002", "w32-0000", "w32-0001", "w32-0003", "w64-0000"]


def test_a_trials_row_holds_outcome_spread_members_and_values(make_matrix):
    best, rival = make_matrix(32, 0, [0.5, 0.6], [0.5, 0.6]), make_matrix(32, 1, [0.51, 0.58], [0.51, 0.62], lr=0.001)

    found = rows(sheet_of_trials([rival, best]))

    assert found["w32-0001"] == {
        "trial": "w32-0001", "width": "32", "state": "complete", "step": "100", "objective": "0.555",
        "objective_stderr": "0.0272336", "tied": "yes", "seed_spread": "0.02", "fold_spread": "0.0620484",
        "r0f0": "0.51", "r0f1": "0.58", "r1f0": "0.51", "r1f1": "0.62", "lr": "0.001", "alpha_output": "2",
    }  # fmt: skip
    assert found["w32-0000"]["tied"] == ""


def test_a_trial_of_a_population_has_the_values_it_ended_with(make_record):
    record = make_record(32, 0, 0.5)
    moved = record.hyperparameters.model_copy(update={"lr": 0.002})
    moved_record = replace(record, hyperparameters=moved, moves={50: Move("w32-0001", moved)})

    (row,) = rows(sheet_of_trials([moved_record])).values()

    assert (row["lr"], row["alpha_output"]) == ("0.002", "2")


def test_what_a_trial_does_not_have_is_empty(make_record, make_matrix):
    failed = make_record(32, 1, None, state=TrialState.FAILED)

    row = rows(sheet_of_trials([make_matrix(32, 0, [0.5, 0.6]), failed]))["w32-0001"]

    assert [row[name] for name in ("objective", "objective_stderr", "tied", "f0", "f1")] == [""] * 5
    assert row["lr"] == "0.00390625"


def test_single_trainings_have_no_columns_for_members(make_record):
    (row,) = rows(sheet_of_trials([make_record(32, 0, 0.5)])).values()

    assert list(row)[6:] == ["tied", "seed_spread", "fold_spread", "lr", "alpha_output"]
