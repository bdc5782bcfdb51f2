import math
from dataclasses import replace

import pytest
from rich.console import Console
from trial_records import make_record

from raytag.records import Cost, TrialState
from raytag.report.ledger import ledger_of, predict_wide_run, tabulate_ledger


def record(number, width=32, steps=100, state=TrialState.COMPLETE, members=()):
    cost = {"train_flops": 1e12 * steps / 100, "seconds": 10.0 * steps / 100}
    metrics = {"val/objective": 1.0, **cost}
    return make_record(
        width, number, state=state, history={steps: metrics}, members={steps: members} if members else {}
    )


# 2 whole trainings, and one that was stopped halfway; another width that the sweep does without
RECORDS = [record(0), record(1), record(2, steps=50, state=TrialState.PRUNED), record(0, width=64)]


def test_tuning_wide_is_the_same_sweep_of_wide_trainings():
    ledger = ledger_of(RECORDS, RECORDS[0], 256, Cost(40e12, 100.0))

    assert ledger.sweep == Cost(2.5e12, 25.0)
    assert ledger.tuning == Cost(100e12, 250.0)
    assert ledger.share(ledger.transfer) == (pytest.approx(0.425), pytest.approx(0.5))


def test_of_a_trial_of_several_trainings_one_is_compared():
    source = record(0, members=({"val/objective": 1.0},) * 4)

    assert ledger_of([source], source, 256, Cost(1e12, 1.0)).tuning == Cost(4e12, 4.0)


def test_a_wide_run_is_predicted_at_the_speed_of_the_narrow_one():
    assert predict_wide_run(RECORDS[0], 40e12) == Cost(40e12, 400.0)


def test_a_study_that_did_not_count_has_no_shares():
    bare = make_record(history={10: {"val/objective": 1.0}})

    ledger = ledger_of([bare], bare, 64, Cost(1e12, 1.0))

    assert all(math.isnan(share) for share in ledger.share(ledger.transfer))
    assert set(ledger.numbers()) == {
        f"cost/{name}_{unit}" for name in ("sweep", "wide_run") for unit in ("flops", "worker_seconds")
    }


def row_of(ledger, beginning, capsys):
    Console(width=80).print(tabulate_ledger(ledger))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(beginning)]
    return line.removeprefix(beginning).replace(" %", "%").split()


def test_what_is_expected_beside_the_wide_run_is_shown_as_such(capsys):
    ledger = ledger_of(RECORDS, RECORDS[0], 256, Cost(40e12, 100.0))
    expected = replace(ledger, continued=Cost(1e12, 25.0), trainings_to_verify=(15, 36), is_expected=True)

    assert row_of(expected, "narrow model, trained on, expected", capsys) == ["1", "1%", "25", "10%"]
    assert row_of(expected, "verification: 15 wide runs or more", capsys) == ["600", "600%", "1,500", "600%"]
    assert row_of(expected, "verification: 36 wide runs at most", capsys) == ["1,440", "1,440%", "3,600", "1,440%"]


def test_the_table_fits_a_terminal_and_shows_costs_and_shares(capsys):
    ledger = ledger_of(RECORDS, RECORDS[0], 256, Cost(40e12, 100.0))

    Console(width=80).print(tabulate_ledger(ledger))

    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    rows = [line.split("  ") for line in printed.splitlines()]
    assert any(row[0] == "both" and "42.5 %" in " ".join(row) for row in rows)
