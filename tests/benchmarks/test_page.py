"""A benchmark replaces its own figures and nobody else's."""

import pytest

from benchmarks import page

TEXT = "before\n<!-- a -->\n\nold\n<!-- end -->\nbetween\n<!-- b -->\n\nkept\n<!-- end -->\nafter\n"


@pytest.fixture
def written(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "PAGE", tmp_path / "page.md")
    page.PAGE.write_text(TEXT)
    return page.PAGE


def test_a_block_is_replaced_and_the_rest_kept(written):
    page.write_block("a", "new")
    assert written.read_text() == TEXT.replace("old", "new")


def test_a_page_without_the_block_is_an_error(written):
    with pytest.raises(AssertionError, match="lacks the lines"):
        page.write_block("c", "new")
    assert written.read_text() == TEXT
