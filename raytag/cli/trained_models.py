"""The model that a command works on, in a study, in the folder of a wide run or in a file, and the file it writes."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from raytag.cli.arguments import add_output, check_output
from raytag.cli.sources import BEST, add_tracking_uri, find_source, trial_of
from raytag.errors import StudyError

if TYPE_CHECKING:
    from raytag.trained.model_file import ModelFile

__all__ = ["add_model", "model_and_output", "model_of"]


def add_model(parser: argparse.ArgumentParser, ending: str) -> None:
    """Add a trained model and the file to write it to, whose default name is its study's and trial's and an ending."""
    parser.add_argument(
        "model",
        metavar="RUN",
        help="name of a study in ./runs, or its folder; STUDY:TRIAL, as in gn2_width:w64-0012; the folder of a wide "
        "run (runs/STUDY/transfer/...); the id of any of these in MLflow; or a file that raytag extract wrote",
    )
    parser.add_argument(
        "trial",
        metavar="TRIAL",
        nargs="?",
        help="of a study: as in w64-0012; best (the default) is the completed one with the lowest objective",
    )
    parser.add_argument("--width", type=int, help="let best mean the best of this width")
    parser.add_argument("--member", help="which training, as in r1f0, where trials have replicas or folds")
    add_tracking_uri(parser)
    add_output(parser, "FILE.pt", f"STUDY-TRIAL{ending}")
    parser.set_defaults(ending=ending)


def model_and_output(
    arguments: argparse.Namespace, check: Callable[..., None] = check_output
) -> tuple[ModelFile, Path]:
    """Return the model that a command's arguments mean and the file to write; a named file is checked at once.

    Raises
    ------
    RaytagError
        The file cannot be written, or :func:`model_of` finds no model.
    """
    if arguments.output:
        check(arguments.output, force=arguments.force)
    model = model_of(arguments)
    path = arguments.output or Path(f"{model.provenance['study']}-{model.trial.name}{arguments.ending}")
    check(path, force=arguments.force)
    return model, path


def model_of(arguments: argparse.Namespace) -> ModelFile:
    """Return the model that a command's arguments mean.

    Raises
    ------
    RaytagError
        There is no such study, trial, wide run, run in MLflow or file, or an option does not fit it.
    DataError
        The training file or norm_dict.yaml of a study cannot be read.
    """
    from raytag.trained.extract import extract
    from raytag.trained.model_file import read_model_file
    from raytag.transfer.extract import extract_wide

    named = arguments.model
    if Path(named).is_file():
        _check_is_alone(arguments, "a model's file")
        return read_model_file(named)
    source = find_source(named, arguments.tracking_uri)
    if source.wide:
        _check_is_alone(arguments, "a wide run")
        return extract_wide(source.wide)
    trial = trial_of(source, named, "TRIAL", arguments.trial)
    return extract(source.study, trial or BEST, width=arguments.width, member=arguments.member)


def _check_is_alone(arguments: argparse.Namespace, what: str) -> None:
    """Refuse what chooses among a study's models."""
    chosen = {"TRIAL": arguments.trial, "--width": arguments.width, "--member": arguments.member}
    for option, value in chosen.items():
        if value is not None:
            raise StudyError(f"{option} {value}: {arguments.model} is {what}, which holds one model. Leave it out.")
