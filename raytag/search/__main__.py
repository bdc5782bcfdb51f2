"""``python -m raytag.search FILE``: the same as ``raytag search FILE``."""

from __future__ import annotations

import sys

from raytag.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["search", *sys.argv[1:]]))
