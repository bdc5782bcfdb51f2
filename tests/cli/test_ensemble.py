"""`raytag ensemble` prints its table and writes the file it is told to. The figures are tested with raytag.trained."""

import h5py
import pytest
from finished_study import COMPLETE

from raytag.cli.main import main

pytestmark = [
    pytest.mark.usefixtures("home"),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),  # mlflow's own queries
]


def test_the_table_comes_after_a_line_for_each_trial(capsys):
    assert main(["ensemble", "tiny", "--top", "1"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{COMPLETE} measured"
    assert "light rejection" in lines[1]
    assert lines[2].startswith(f"{COMPLETE}  1.386294 ± 0.000000")  # untrained: ln 4
    assert lines[3].startswith("On 467 test jets")


def test_a_file_is_written_where_it_is_told_to(home, capsys):
    assert main(["ensemble", "tiny", "--top", "1", "-o", "scores.h5"]) == 0

    assert capsys.readouterr().out.endswith("Written: scores.h5\n")
    with h5py.File(home / "scores.h5") as file:
        assert len(file["jets"]) == 467
    assert main(["ensemble", "tiny", "--top", "1", "-o", "scores.h5"]) == 2
    assert "scores.h5: the file exists. Add --force" in capsys.readouterr().err
    assert main(["ensemble", "tiny", "--top", "1", "-o", "scores.h5", "--force"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("tinny --top 1", "Did you mean tiny?"),
        ("tiny --top 2", "--top 2: only 1 trial has completed."),
        ("tiny --top 1 --width 32", "--width 32: the study has no trials of this width. It has 16."),
        ("tiny --top 1 -o no/scores.h5", "--output no/scores.h5: there is no folder no."),
    ],
)
def test_a_mistake_is_one_error_and_exit_code_2(error_of, words, message):
    assert message in error_of("ensemble", *words.split())
