"""What may be named on the command line in a study, and what is said of what may not: the source of a transfer."""

import argparse
import re

import pytest
from finished_study import COMPLETE, make_study, make_wide_run

from raytag.cli.sources import BEST, source_of
from raytag.cli.transfer import RULES, add_parser
from raytag.errors import StudyError
from raytag.trained import choice
from raytag.transfer.prepare import prepare_transfer
from raytag.transfer.target import RULES as KNOWN_RULES
from raytag.transfer.target import Target


@pytest.fixture(scope="module")
def home(tmp_path_factory, jets):
    path = tmp_path_factory.mktemp("home")
    study = make_study(path, jets)
    make_wide_run(study, prepare_transfer(study, Target(16)))
    return path


@pytest.fixture
def resolve(home, monkeypatch):
    monkeypatch.chdir(home)
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    return lambda *words: source_of(parser.parse_args(["transfer", "--width", "32", *words]))


@pytest.mark.parametrize(
    "words", [["tiny"], ["runs/tiny"], ["tiny:best"], ["tiny", "--trial", "best"], ["tiny:best", "--trial", "best"]]
)
def test_a_study_is_known_by_its_name_or_folder(home, resolve, words):
    folder, trial = resolve(*words)

    assert (folder.path, trial) == (home / "runs" / "tiny", None)


@pytest.mark.parametrize("words", [["tiny:w16-0000"], ["runs/tiny:w16-0000"], ["tiny", "--trial", "w16-0000"]])
def test_a_trial_is_named_behind_its_study_or_by_an_option(home, resolve, words):
    folder, trial = resolve(*words)

    assert (folder.path, trial) == (home / "runs" / "tiny", COMPLETE)


@pytest.mark.parametrize("place", ["tiny/transfer", "runs/tiny/transfer"])
def test_a_wide_run_s_folder_means_the_trial_that_it_was_widened_from(home, resolve, place):
    folder, trial = resolve(f"{place}/w16-from-{COMPLETE}")

    assert (folder.path, trial) == (home / "runs" / "tiny", COMPLETE)


def test_two_trials_are_refused(resolve):
    with pytest.raises(StudyError, match=r"--trial w16-0001: tiny:w16-0000 is trial w16-0000 already"):
        resolve("tiny:w16-0000", "--trial", "w16-0001")


@pytest.mark.parametrize("source", ["tiny:", ":w16-0000"])
def test_half_a_name_is_refused(resolve, source):
    with pytest.raises(StudyError, match="expected STUDY:TRIAL"):
        resolve(source)


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("tin", r"error: tin: no study of this name in .* Did you mean tiny\?"),
        ("tiny:w16-0009", "error: w16-0009: the study has no such trial. Its best one is w16-0000."),
        (
            "0" * 32,
            r"error: 0{32}: to look for this run, name MLflow's place \(--tracking-uri\); .*mlflow.db is no file",
        ),
    ],
)
def test_a_source_that_does_not_exist_is_told_in_one_line(home, monkeypatch, error_of, source, line):
    monkeypatch.chdir(home)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    assert re.match(line, error_of("transfer", source, "--width", "32"))
    assert not (home / "mlflow.db").exists()


def test_the_rules_on_the_command_line_are_those_there_are():
    assert RULES == KNOWN_RULES


def test_the_best_trial_is_called_as_elsewhere():
    assert BEST == choice.BEST
