import io
import json
import math

import numpy as np
import pytest
from lr_curves import WIDTHS, make_curves, records_of
from rich.console import Console

from raytag.report.transfer_analysis import analyse_transfer
from raytag.report.transfer_tables import (
    describe_transfer,
    report_dict,
    report_markdown,
    split_controls,
    tabulate_transfer,
)


@pytest.fixture(scope="module")
def studies():
    rng = np.random.default_rng(1)
    curves = {
        "mup": make_curves(0.05, noise=1e-5, rng=rng),
        "standard": make_curves(-1.0),
    }
    curves["standard"][-1].objectives[:, curves["standard"][-1].log2_lrs > -7] = math.inf
    return [
        analyse_transfer({"mup": "muP"}.get(name, name), name, WIDTHS, records_of(of)) for name, of in curves.items()
    ]


def test_the_table_has_a_row_per_width_under_its_studys_finding(studies):
    console = Console(width=120, file=io.StringIO())
    console.print(tabulate_transfer(studies))
    lines = [" ".join(line.split()) for line in console.file.getvalue().splitlines()]

    assert lines[0] == "muP: optimum moves +0.05 ± 0.00 octaves per doubling"
    assert lines[1] == "width best lr log2 lr loss loss at the carried lr gap wide - narrow"
    assert lines[2].startswith("32 0.0156 -6.00 ± 0.00 0.9")
    assert lines[12].startswith("256 0.00195 -9.00 ± 0.00 0.8")
    assert lines[12].endswith("diverges diverges")


def test_the_verdict_comes_last_and_the_intervals_first(studies):
    first, *_, last = describe_transfer(studies)

    assert first.startswith("± is half of a 95 % interval over 3 seeds of initial weights")
    assert last == "Verdict: The learning rate transfers from width 32 to 256."


def test_a_study_without_a_completed_trial_is_missing(studies):
    assert "Missing (standard): no trial has completed yet." in describe_transfer(studies[:1], absent=["standard"])


def test_markdown_holds_table_and_verdict(studies):
    page = report_markdown(studies, "a study", "transfer.png")

    assert page.startswith("# a study\n\n![")
    assert "(transfer.png)\n\n**muP: optimum moves" in page
    assert page.count("\n| ") == 2 * (2 + len(WIDTHS))
    assert "\n**The learning rate transfers from width 32 to 256.**\n" in page


def test_json_holds_studies_and_verdicts(studies):
    read = json.loads(json.dumps(report_dict(studies), allow_nan=False))

    assert [study["label"] for study in read["studies"]] == ["muP", "standard"]
    assert read["verdicts"]["muP"]["conclusion"] == "transfers"


def test_the_standard_parametrisation_is_a_control_only_beside_a_mup(studies):
    mup, standard = studies

    assert split_controls([standard, mup]) == ([mup], [standard])
    assert split_controls([standard]) == ([standard], [])
