"""``raytag validate``: check an experiment, its search space and its data, and say what would run."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["add_parser"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "validate",
        help="check an experiment, its search space and its data",
        description="Check an experiment, its search space and its data, and say what would run.",
    )
    parser.add_argument("file", type=Path, help="experiment file (YAML)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="change a value of the file")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the summary, or raise all problems."""
    from raytag.config.load import load_experiment, load_space

    experiment = load_experiment(arguments.file, arguments.overrides)
    load_space(experiment.search.space)
