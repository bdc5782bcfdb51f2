"""`raytag extract` writes a file where it is told to, never over another. Its content is tested with raytag.trained."""

import pytest
import torch
from finished_study import COMPLETE

from raytag.cli.main import main

pytestmark = pytest.mark.usefixtures("home")


def test_the_best_trial_lands_in_a_file_of_its_name(home, capsys):
    assert main(["extract", "tiny"]) == 0

    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith(f"tiny-{COMPLETE}.pt: {COMPLETE}, width 16, ")
    assert "step 0 of 30 (unfinished)" in out
    assert torch.load(home / f"tiny-{COMPLETE}.pt", weights_only=True)["width"] == 16


def test_an_existing_file_is_replaced_only_by_force(home, capsys):
    (home / "mine.pt").write_text("precious")

    assert main(["extract", "tiny", COMPLETE, "--output", "mine.pt"]) == 2
    assert "mine.pt: the file exists. Add --force" in capsys.readouterr().err
    assert (home / "mine.pt").read_text() == "precious"
    assert main(["extract", "tiny", COMPLETE, "--output", "mine.pt", "--force"]) == 0
    assert torch.load(home / "mine.pt", weights_only=True)["name"] == COMPLETE


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("tinny", "tinny: no study of this name in {home}/runs, nor a folder here. Did you mean tiny?"),
        ("tiny --output no/model.pt", "--output no/model.pt: there is no folder no."),
        ("tiny --output runs", "--output runs: this is a folder. Name a file in it."),
    ],
)
def test_a_mistake_is_one_error_and_exit_code_2(home, error_of, words, message):
    assert message.format(home=home) in error_of("extract", *words.split())
