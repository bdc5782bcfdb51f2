"""``raytag extract``: write one trial's model as an ordinary file."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from raytag.cli.trained_models import add_model, model_and_output

if TYPE_CHECKING:
    from pathlib import Path

    from raytag.trained.model_file import ModelFile

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Write the model of a trial or of a wide run as an ordinary torch file: its state dict, the experiment, the
hyperparameters, the inputs with their standardisation, the muP rules, the metrics, and where it comes from. It needs
neither the study nor the data. A training that is still running gives its last saved step. docs/models.md says how to
load the file.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "extract",
        help="write one trial's model as an ordinary file",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model(parser, ".pt")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Write the file and say what is in it."""
    model, path = model_and_output(arguments)

    from raytag.trained.model_file import write_model_file

    write_model_file(path, model)
    print(_summary(path, model))


def _summary(path: Path, model: ModelFile) -> str:
    from raytag.records import OBJECTIVE

    num_parameters = sum(model.state_dict[rule["name"]].numel() for rule in model.rules["rules"])
    parts = [model.trial.name, f"width {model.trial.width}", f"{num_parameters:,} parameters"]
    parts.append(f"step {model.step} of {model.num_steps}" + (" (unfinished)" if model.step < model.num_steps else ""))
    if model.step in model.history:
        parts.append(f"objective {model.history[model.step][OBJECTIVE]:.4f}")
    return f"{path}: {', '.join(parts)}"
