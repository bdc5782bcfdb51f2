"""``raytag data``: what it prints, and its errors."""

from __future__ import annotations

import shutil

import pytest

from raytag.cli.main import main


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--process", "tbar"], "no such process. There are: ttbar, zprime, bb, cc, qcd."),
        (["--jets", "0"], "--jets 0: expected at least 1."),
        (["--seed", "-1"], "--seed -1: expected 0 to"),
        (["--workers", "0"], "--workers 0: expected at least 1."),
    ],
)
def test_a_bad_option_is_one_error_with_exit_code_2(options, complaint, tmp_path, capsys):
    assert main(["data", "simulate", str(tmp_path / "out"), *options]) == 2

    error = capsys.readouterr().err
    assert complaint in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_missing_generators_are_an_error_that_tells_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("raytag.data.simulate.dataset.find_spec", lambda _: None)

    assert main(["data", "simulate", str(tmp_path / "out")]) == 2

    assert 'pip install "raytag[simulate]"' in capsys.readouterr().err


def test_finished_jets_are_found_without_the_generators(jets, capsys, monkeypatch):
    monkeypatch.setattr("raytag.data.simulate.dataset.find_spec", lambda _: None)

    assert main(["data", "simulate", str(jets), "--process", "ttbar", "--jets", "2000", "--seed", "1"]) == 0

    assert "2,000 ttbar jets are already there" in capsys.readouterr().out


def test_info_prints_a_summary_and_draws_beside_the_file(jets, tmp_path, capsys):
    file = shutil.copy(jets / "pp_output_val.h5", tmp_path / "val.h5")

    assert main(["data", "info", str(file)]) == 0

    output = capsys.readouterr().out
    assert "bjets" in output
    assert output.endswith(f"picture: {tmp_path / 'val.png'}\n")
    assert (tmp_path / "val.png").exists()


def test_info_of_no_h5_file_is_one_error(tmp_path, capsys):
    (tmp_path / "notes.h5").write_text("no jets here")

    assert main(["data", "info", str(tmp_path / "notes.h5")]) == 2

    assert len(capsys.readouterr().err.splitlines()) == 1
