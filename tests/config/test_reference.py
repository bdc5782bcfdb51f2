"""The committed reference page is the one the models give."""

from pathlib import Path

from raytag.config.experiment import Experiment
from raytag.config.explain import key_paths
from raytag.config.reference import reference_page
from raytag.config.wording import dotted

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_committed_page_is_current():
    command = "python -m raytag.config.reference > docs/configuration.md"
    assert reference_page() == PAGE.read_text(), f"run: {command}"


def test_every_key_has_a_line_with_its_meaning():
    rows = [line for line in reference_page().splitlines() if line.startswith("| `")]

    sections = {path[:-1] for path in key_paths(Experiment) if len(path) > 1}
    for path in key_paths(Experiment):
        if path not in sections:
            assert sum(row.startswith(f"| `{dotted(path)}` |") for row in rows) == 1, dotted(path)
    assert not [row for row in rows if row.endswith("| None |")]
