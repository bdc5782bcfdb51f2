"""``raytag bake``: write a trained model as an ordinary GN2 that needs no raytag."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from raytag.cli.arguments import check_output
from raytag.cli.trained_models import add_model, model_and_output
from raytag.errors import RaytagError, StudyError

if TYPE_CHECKING:
    from raytag.trained.bake import BakedModel
    from raytag.trained.model_file import ModelFile

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Fold all multipliers of a trained model into its weights and write an ordinary GN2 that is used without raytag:
FILE.pt has the weights by Salt's names and all that is needed to use them, FILE.pt2 the same model as a program, from
unscaled jets and tracks to the logits of all tasks. docs/models.md shows how to load them.

Both models are first run on jets; unless their logits agree, nothing is written.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "bake",
        help="write a trained model as an ordinary GN2 that needs no raytag",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model(parser, "-baked.pt")
    parser.add_argument(
        "--jets", type=Path, metavar="FILE.h5", help="jets to compare both models on (default: the validation jets)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Bake, compare, write, and say what was written."""
    model, path = model_and_output(arguments, _check)

    from raytag.trained.bake import bake, program_path, write_baked

    baked = bake(model, arguments.jets or _validation_jets(model))
    write_baked(path, baked)
    print(f"{path}: {_summary(model, baked)}")
    print(f"{program_path(path)}: the same model as a program")
    print(_agreement(baked))


def _check(path: Path, *, force: bool) -> None:
    """Refuse a name for which either of the two files cannot be written."""
    if path.suffix == ".pt2":
        raise RaytagError(
            f"--output {path}: the program is written beside the weights. Name those, as in {path.stem}.pt."
        )
    for file in (path, path.with_suffix(".pt2")):
        check_output(file, force=force)


def _validation_jets(model: ModelFile) -> Path:
    """Return the validation file that the model's experiment names."""
    from raytag.config.document import parse

    path = Path(parse(model.experiment).value["data"]["val"])
    if not path.exists():
        raise StudyError(
            f"{path}: the validation jets of {model.trial.name} are gone. Name others with --jets FILE.h5."
        )
    return path


def _summary(model: ModelFile, baked: BakedModel) -> str:
    num_weights = sum(weight.numel() for weight in baked.weights.values())
    return f"{model.trial.name}, width {model.trial.width}, {num_weights:,} weights"


def _agreement(baked: BakedModel) -> str:
    found = baked.agreement
    return (
        f"On {found.num_jets} jets its logits are those of raytag's model, to {found.rounded:.0e} of the largest one "
        f"({found.exact:.0e} in float64)."
    )
