"""``raytag transfer``: train a wide model once, with the hyperparameters that a search tuned narrow."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from raytag.search.folder import StudyFolder
    from raytag.transfer.plan import TransferPlan
    from raytag.transfer.run import TransferOutcome

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Take a study's best trial, carry its transferable hyperparameters to a wider model, check muP there, train it with
Ray Train, and print its metrics beside the narrow model's. The same command goes on after an interruption.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "transfer",
        help="train a wide model with the hyperparameters of a study's best trial",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", metavar="STUDY", help="name of a study in ./runs, or the path of its folder")
    parser.add_argument("--width", type=_positive, required=True, help="width of the model to train")
    parser.add_argument("--workers", type=_positive, default=1, help="processes that train it together (default: 1)")
    parser.add_argument("--trial", help="trial to widen, as in w32-0007 (default: the one with the lowest objective)")
    parser.add_argument("--steps", type=_positive, help="optimizer steps (default: as many as a trial of the study)")
    parser.add_argument("--address", help="Ray cluster to use, as in auto or 10.0.0.1:6379 (default: this machine)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Plan, train, compare and record the transfer."""
    from rich.console import Console

    from raytag.data.h5 import check_data
    from raytag.search.folder import StudyFolder
    from raytag.transfer.run import prepare_transfer, run_transfer

    study = StudyFolder(_study_path(arguments.study))
    plan = prepare_transfer(study, arguments.width, arguments.trial, arguments.steps)
    check_data(plan.experiment)
    console = Console()
    _show_plan(plan, console)
    try:
        outcome = run_transfer(plan, study, console, arguments.workers, arguments.address)
    except KeyboardInterrupt:
        command = shlex.join(["raytag", *sys.argv[1:]])
        console.print(f"Stopped. To go on: {command}", highlight=False, soft_wrap=True)
        raise SystemExit(130) from None
    _show_outcome(outcome, study, console)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text}")
    return value


def _study_path(study: str) -> Path:
    """Return the folder of a study given by its path or by its name."""
    given = Path(study)
    return given.absolute() if given.is_dir() else (Path("runs") / study).absolute()


def _show_plan(plan: TransferPlan, console: Console) -> None:
    from rich.table import Table

    from raytag.report.trials import format_objective

    source = plan.source
    console.print(
        f"Transfer of {source.name} (objective {format_objective(source)}) from width {source.width} to {plan.width}",
        highlight=False,
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("hyperparameter", "value", "transfer", ""):
        table.add_column(title, justify="right" if title == "value" else "left")
    for entry in plan.carried:
        if entry.transfer != "fixed":
            table.add_row(entry.name, f"{entry.value:.3g}", entry.transfer, entry.reason)
    console.print(table)


def _show_outcome(outcome: TransferOutcome, study: StudyFolder, console: Console) -> None:
    from raytag.logbook import LogbookError, view_command
    from raytag.report.comparison import tabulate_comparison
    from raytag.transfer.record import record_transfer

    plan = outcome.plan
    titles = (f"{plan.source.name}, width {plan.source.width}", f"width {plan.width}")
    console.print()
    console.print(f"On the {outcome.split} jets:", highlight=False)
    console.print(tabulate_comparison(outcome.narrow, outcome.wide, titles))
    console.print()
    try:
        record = f"MLflow:     {view_command(record_transfer(outcome, study))}"
    except LogbookError as error:
        record = f"MLflow did not take the run ({str(error).splitlines()[0]}); the same command writes it later."
    for line in (f"Wide model: {outcome.folder.checkpoint}  ({outcome.wall_seconds:.0f} s)", record):
        console.print(line, highlight=False, soft_wrap=True)
