"""``raytag transfer`` as far as it trains nothing; whole transfers are in tests/e2e and tests/transfer."""

import json
from dataclasses import asdict

import pytest
import torch
from finished_study import make_wide_run

from raytag.cli.main import main
from raytag.cli.transfer import _without_warm_start
from raytag.search.folder import StudyFolder
from raytag.transfer.arms import Arms
from raytag.transfer.measure import measure
from raytag.transfer.prepare import prepare_transfer
from raytag.transfer.results import Results
from raytag.transfer.target import Target


def files_in(path):
    return {file: file.stat().st_mtime_ns for file in path.rglob("*")}


def test_a_dry_run_shows_plan_cost_and_place_and_writes_nothing(home, capsys):
    before = files_in(home)

    assert main(["transfer", "tiny", "--width", "32", "--layers", "2", "--steps", "60", "--dry-run"]) == 0

    assert files_in(home) == before
    printed = capsys.readouterr().out
    for words in (
        "CompleteP [2]",
        "Complete(d)P [3]",
        "narrow sweep: 3 trials, width 16",
        "wide run, width 32, expected",
    ):
        assert words in printed
    place = home / "runs" / "tiny" / "transfer" / "w32-l2-s60-from-w16-0000"
    assert printed.splitlines()[-1] == f"Nothing was trained. It would be written to {place}"
    assert max(len(line) for line in printed.splitlines() if str(home) not in line) <= 80


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], []),
        (["--verify"], ["verification: 15 wide runs or more", "verification: 36 wide runs at most"]),
        (["--warm-start"], ["narrow model, trained on, expected"]),
    ],
)
def test_a_dry_run_counts_what_was_asked_for_beside_the_wide_run(capsys, words, expected):
    assert main(["transfer", "tiny", "--width", "32", *words, "--dry-run"]) == 0

    _, rest = capsys.readouterr().out.split("same sweep at width 32, expected")
    assert [line.split("  ")[0] for line in rest.splitlines()[1 : 1 + len(expected)]] == expected
    assert rest.splitlines()[1 + len(expected)] == "Seconds are expected at the source trial's speed."


def test_a_dry_run_calls_finished_what_the_command_would_show_again(home, capsys):
    study = StudyFolder(home / "runs" / "tiny")
    arms = Arms(plan := prepare_transfer(study, Target(16)), study, make_wide_run(study, plan))
    digests = {name: model.digest for name, model in arms.models.items()}
    results = Results.of(measure(arms.models, "test", torch.device("cpu")), digests)
    written = {"comparison": asdict(results.comparison), "warm_start": None, "digests": digests}
    arms.folder.result.write_text(json.dumps(written))

    def last_line():
        main(["transfer", "tiny", "--width", "16", "--dry-run"])
        return capsys.readouterr().out.splitlines()[-1]

    assert last_line().endswith(f"/{plan.trial.name} (finished already)")

    with arms.folder.checkpoint.open("ab") as file:
        file.write(b" ")

    assert last_line().endswith(f"/{plan.trial.name} (at step 0 already)")


@pytest.mark.parametrize("warm", [["--warm-start", "w32-0003"], ["--warm-start=w32-0003"]])
def test_the_command_without_a_warm_start_loses_no_other_word(warm):
    words = ["transfer", "tiny", "--trial", "w32-0003", *warm, "--restart", "--width", "64"]

    assert _without_warm_start(words, "w32-0003").endswith(" transfer tiny --trial w32-0003 --width 64")


def test_a_warm_start_from_the_source_is_left_out_alone():
    words = ["transfer", "tiny", "--width", "64", "--warm-start"]

    assert _without_warm_start(words, "").endswith(" transfer tiny --width 64")


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["--verify", "--warm-start"],
            "error: --verify: it trains from first values, which says nothing of --warm-start",
        ),
        (["--without-rule", "batch"], "error: --without-rule batch: no effect without another --batch-size"),
        (["--layers", "0"], "error: --layers 0: expected a number above 0."),
        (
            ["--layers", "2", "--warm-start"],
            "error: --warm-start: w16-0000 cannot be widened, as it differs from the wide model in model.num_layers",
        ),
    ],
)
def test_a_mistake_is_told_in_one_line(error_of, words, line):
    assert error_of("transfer", "tiny", "--width", "32", *words).startswith(line)
