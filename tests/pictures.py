"""What a picture shows: its figure, caught while it is written."""

from unittest.mock import patch

from matplotlib.figure import Figure


def figure_of(draw, contents, path, *title):
    """Call a function that draws contents into a file; return the figure after a look at the file."""
    with patch.object(Figure, "savefig", autospec=True, side_effect=Figure.savefig) as save:
        draw(contents, path, *title)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 10_000
    return save.call_args.args[0]
