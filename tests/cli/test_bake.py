"""`raytag bake` finds a model anywhere and says what it wrote; what that holds is tested with raytag.trained."""

import pytest
import torch
from finished_study import COMPLETE, make_wide_run

from raytag.cli.main import main
from raytag.search.folder import StudyFolder
from raytag.transfer.prepare import prepare_transfer
from raytag.transfer.target import Target

pytestmark = pytest.mark.usefixtures("home")


def test_the_best_trial_of_a_study_lands_in_two_files(home, capsys):
    assert main(["bake", "tiny"]) == 0

    out, err = capsys.readouterr()
    assert err == ""
    path = f"tiny-{COMPLETE}-baked.pt"
    assert out.startswith(f"{path}: {COMPLETE}, width 16, ")
    assert f"{path}2: the same model as a program\nOn 238 jets its logits are those of raytag's model, to " in out
    assert torch.load(home / path, weights_only=True)["name"] == COMPLETE
    assert (home / f"{path}2").exists()


def test_a_file_and_a_wide_run_are_models_too(home, jets, capsys):
    assert main(["extract", "tiny", "-o", "one.pt"]) == 0
    assert main(["bake", "one.pt", "-o", "a.pt", "--jets", str(jets / "pp_output_test_ttbar.h5")]) == 0

    wide = wide_run(home)
    assert main(["bake", str(wide.path), "-o", "b.pt"]) == 0

    out = capsys.readouterr().out
    assert f"a.pt: {COMPLETE}, width 16, " in out
    assert f"b.pt: w16-from-{COMPLETE}, width 16, " in out
    weights = [torch.load(home / name, weights_only=True)["weights"] for name in ("a.pt", "b.pt")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("tinny", "tinny: no study of this name in {home}/runs, nor a folder here. Did you mean tiny?"),
        ("tiny w16-0001", "it failed (the loss became nan), and a failed trial's checkpoint is not kept"),
        ("tiny --output b.pt2", "--output b.pt2: the program is written beside the weights. Name those, as in b.pt."),
        ("tiny --output taken.pt", "taken.pt2: the file exists. Add --force to replace it"),
        ("tiny --jets no.h5", "no.h5: no such file."),
        ("one.pt best", "TRIAL best: one.pt is a model's file, which holds one model. Leave it out."),
        ("{wide} --width 16", "--width 16: {wide} is a wide run, which holds one model. Leave it out."),
        ("taken.pt2", "taken.pt2: not a readable model"),
    ],
)
def test_a_mistake_is_one_error_and_exit_code_2(home, error_of, words, message):
    assert main(["extract", "tiny", "-o", "one.pt"]) == 0
    (home / "taken.pt2").write_text("precious")
    wide = wide_run(home).path if "{wide}" in words else None
    files = {file.name for file in home.iterdir()}

    error = error_of("bake", *words.format(wide=wide).split())

    assert message.format(home=home, wide=wide) in error
    assert {file.name for file in home.iterdir()} == files


def test_validation_jets_that_are_gone_are_named(capsys):
    assert main(["extract", "tiny", "-o", "one.pt"]) == 0
    content = torch.load("one.pt", weights_only=True)
    content["experiment"] = content["experiment"].replace("pp_output_val.h5", "gone.h5")
    torch.save(content, "one.pt")

    assert main(["bake", "one.pt"]) == 2

    assert (
        "gone.h5: the validation jets of w16-0000 are gone. Name others with --jets FILE.h5." in capsys.readouterr().err
    )


def wide_run(home):
    study = StudyFolder(home / "runs" / "tiny")
    return make_wide_run(study, prepare_transfer(study, Target(16)))
