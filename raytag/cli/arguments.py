"""Arguments that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["add_experiment"]


def add_experiment(parser: argparse.ArgumentParser) -> None:
    """Add the experiment file and its overrides to a command, as ``file`` and ``overrides``."""
    parser.add_argument("file", type=Path, metavar="FILE", help="experiment file (YAML)")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="change a value of the file, as in training.num_steps=50"
    )
