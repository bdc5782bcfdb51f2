"""``raytag check``: run the two muP gates of an experiment, as the search does before its first trial."""

from __future__ import annotations

import argparse

from raytag.cli.arguments import add_experiment
from raytag.errors import CheckError

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "check",
        help="run the muP gates: would the model transfer?",
        description=(
            "Run the two muP gates through the experiment's own batches, schedule and optimizer: a widened model must "
            "train exactly like the narrow one (duplication), and activations must not grow with the width "
            "(coordinates). The exit code is 1 if one of them fails."
        ),
    )
    add_experiment(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the gates' figures and their verdict.

    Raises
    ------
    CheckError
        If a gate failed.
    """
    import torch

    from raytag.config.load import load_experiment
    from raytag.data.h5 import check_data
    from raytag.training.gates import run_gates
    from raytag.workloads import open_workload

    experiment = load_experiment(arguments.file, arguments.overrides)
    check_data(experiment)
    torch.set_num_threads(1)  # two OpenMP threads were 2 to 10 times slower on a shared machine
    report = run_gates(open_workload, experiment)
    print("\n".join(report.lines()))
    if not report.passed:
        raise CheckError(f"{arguments.file}: the muP gates failed, so its hyperparameters would not transfer.")
