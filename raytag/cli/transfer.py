"""``raytag transfer``: train a wide model once, with the hyperparameters that a search tuned narrow."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from raytag.cli.programs import program
from raytag.cli.sources import add_source, find_source_beside, source_of
from raytag.errors import StudyError

if TYPE_CHECKING:
    from rich.console import Console

    from raytag.search.folder import StudyFolder
    from raytag.transfer.arms import Arms
    from raytag.transfer.plan import TransferPlan
    from raytag.transfer.results import TransferOutcome
    from raytag.transfer.target import Target
    from raytag.transfer.warm_start import WarmStart

__all__ = ["add_parser", "run"]

RULES = ("depth", "batch", "steps")  # of raytag.transfer.target, which takes a second to import

_DESCRIPTION = """\
Take a study's best trial, carry its transferable hyperparameters to a wider model, check muP there, train it with
Ray Train, and print its metrics beside the narrow model's. To another depth, batch size or number of steps values are
carried by rules; the plan that is printed names each rule and its paper.

The same command goes on after an interruption, however it came about. To begin anew, add --restart (the old wide run
is moved aside).
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "transfer",
        help="train a wide model with the hyperparameters of a study's best trial",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_source(parser)
    parser.add_argument("--width", type=int, required=True, help="width of the model to train")
    parser.add_argument("--workers", type=int, default=1, help="processes that train it together (default: 1)")
    parser.add_argument("--layers", type=int, help="transformer layers (default: as in the study)")
    parser.add_argument("--batch-size", type=int, help="jets in a minibatch (default: as in the study)")
    parser.add_argument("--steps", type=int, help="optimizer steps (default: as many as a trial of the study)")
    parser.add_argument(
        "--without-rule",
        action="append",
        default=[],
        choices=RULES,
        help="leave out the rule for another depth, batch size or number of jets in all, which is --steps times "
        "--batch-size (repeatable: without batch and steps all values are carried unchanged)",
    )
    parser.add_argument(
        "--warm-start",
        nargs="?",
        const="",
        metavar="RUN",
        help="begin with the widened weights of the narrow model (or of RUN: another trial, a training as in "
        "w32-0007-r1, another STUDY:TRIAL, a wide run's folder, the id of any of these in MLflow, an extracted file), "
        "and train the narrow model on beside it",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="afterwards, train the wide model at learning rates around the carried one too, with 3 seeds each, and "
        "tell what the carried one costs",
    )
    parser.add_argument("--dry-run", action="store_true", help="show the plan and its expected cost, and write nothing")
    parser.add_argument("--address", help="Ray cluster to use, as in auto or 10.0.0.1:6379 (default: this machine)")
    parser.add_argument("--restart", action="store_true", help="move the existing wide run aside and begin anew")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Plan, train, compare and record the transfer; every mistake of the user is told before Ray starts."""
    from raytag.transfer.prepare import prepare_transfer

    if arguments.verify and arguments.warm_start is not None:
        raise StudyError("--verify: it trains from first values, which says nothing of --warm-start. Leave one out.")
    study, trial = source_of(arguments)
    plan = prepare_transfer(
        study,
        _target(arguments),
        trial=trial,
        num_workers=arguments.workers,
        tracking_uri=arguments.tracking_uri,
    )
    warm = None if arguments.warm_start is None else _warm_start(plan, study, arguments)
    plan = warm.wide if warm else plan

    from rich.console import Console

    console = Console()
    _show_plan(plan, console)
    if arguments.dry_run:
        _show_expected(plan, study, warm, console, verifies=arguments.verify)
    else:
        _transfer(plan, study, warm, arguments, console)


def _transfer(
    plan: TransferPlan, study: StudyFolder, warm: WarmStart | None, arguments: argparse.Namespace, console: Console
) -> None:
    """Run the transfer and show what came out."""
    from raytag.report.warm_start import SCRATCH
    from raytag.transfer.run import run_transfer

    try:
        outcome = run_transfer(
            plan,
            study,
            console,
            num_workers=arguments.workers,
            address=arguments.address,
            restart=arguments.restart,
            warm=warm,
            verifies=arguments.verify,
        )
    except KeyboardInterrupt:
        console.print(f"Stopped. To go on: {_same_command(sys.argv[1:])}", highlight=False, soft_wrap=True)
        raise SystemExit(130) from None
    _show_outcome(outcome, console)
    if outcome.warm and SCRATCH not in outcome.warm.models:
        command = _without_warm_start(sys.argv[1:], arguments.warm_start)
        console.print(f"For the same width from scratch: {command}", highlight=False, soft_wrap=True)


def _warm_start(plan: TransferPlan, study: StudyFolder, arguments: argparse.Namespace) -> WarmStart:
    from raytag.trained.model_file import read_model_file
    from raytag.transfer.warm_start import narrow_model, plan_warm_start

    named = arguments.warm_start or plan.narrow
    if Path(named).is_file():
        narrow = read_model_file(named)
    else:
        narrow = narrow_model(find_source_beside(study, named, arguments.tracking_uri))
    return plan_warm_start(plan, study.path.name, narrow)


def _same_command(arguments: Sequence[str]) -> str:
    """Return the command that resumes; a second --restart would begin anew."""
    return shlex.join([program("raytag"), *(argument for argument in arguments if argument != "--restart")])


def _without_warm_start(arguments: Sequence[str], run: str) -> str:
    """Return the command that trains the same wide model from first values."""
    left: list[str] = []
    before = ""
    for word in arguments:
        is_run = before == "--warm-start" and word == run
        if not (is_run or word == "--restart" or word.startswith("--warm-start")):
            left.append(word)
        before = word
    return shlex.join([program("raytag"), *left])


def _target(arguments: argparse.Namespace) -> Target:
    from raytag.transfer.target import Target

    return Target(
        width=arguments.width,
        num_layers=arguments.layers,
        batch_size=arguments.batch_size,
        num_steps=arguments.steps,
        without_rules=frozenset(arguments.without_rule),
    )


def _show_plan(plan: TransferPlan, console: Console) -> None:
    from raytag.report.trials import format_objective
    from raytag.transfer.tables import plan_footnotes, tabulate_plan

    source = plan.source
    told = f"{source.name} (objective {format_objective(source)})"
    console.print(f"Transfer of {told} from width {source.width} to {plan.width}", highlight=False, soft_wrap=True)
    console.print(tabulate_plan(plan))
    for line in plan_footnotes(plan):
        console.print(line, highlight=False, markup=False)


def _show_expected(
    plan: TransferPlan, study: StudyFolder, warm: WarmStart | None, console: Console, *, verifies: bool
) -> None:
    """Say what the transfer would cost, and where it would lie."""
    from raytag.report.ledger import tabulate_ledger
    from raytag.search.study import Study
    from raytag.transfer.arms import Arms
    from raytag.transfer.estimate import expected_ledger
    from raytag.transfer.folder import TRANSFER, WideFolder

    num_trainings = _trainings_to_verify() if verifies else None
    records = Study.load(study).records()
    console.print()
    console.print(tabulate_ledger(expected_ledger(plan, records, warm=warm, trainings_to_verify=num_trainings)))
    console.print("Seconds are expected at the source trial's speed.")
    arms = Arms(plan, study, WideFolder(study.path / TRANSFER / plan.trial.name), warm)
    console.print()
    told = f"Nothing was trained. It would be written to {arms.folder.path}{_state(arms)}"
    console.print(told, highlight=False, soft_wrap=True)


def _state(arms: Arms) -> str:
    """Say in brackets how far a transfer is, if it has begun."""
    if arms.folder.result.exists():
        from raytag.transfer.results import read_results  # loads MLflow, which takes a second or two

        if read_results(arms):
            return " (finished already)"
    step = max(arms.folder.read_progress().history, default=0)
    return f" (at step {step} already)" if arms.folder.path.exists() else ""


def _trainings_to_verify() -> tuple[int, int]:
    from raytag.transfer.verify import NUM_TRAININGS  # loads Ray, which takes a second or two

    return NUM_TRAININGS


def _show_outcome(outcome: TransferOutcome, console: Console) -> None:
    from raytag.logbook import view_command
    from raytag.report.comparison import describe_difference, tabulate_comparison
    from raytag.report.ledger import tabulate_ledger
    from raytag.report.verification import describe_verification
    from raytag.report.warm_start import describe_warm_start, tabulate_warm_start

    def say(text: str = "") -> None:
        console.print(text, highlight=False, soft_wrap=True)

    plan, comparison = outcome.plan, outcome.comparison
    say()
    say(f"On {comparison.num_jets} {'test' if comparison.split == 'test' else 'validation'} jets:")
    if outcome.warm:
        console.print(tabulate_warm_start(outcome.warm))
        lines = describe_warm_start(outcome.warm)
    else:
        titles = (f"{plan.source.name}, width {plan.source.width}", f"width {plan.width}")
        console.print(tabulate_comparison(comparison, titles))
        lines = [*describe_difference(comparison)]
    for line in lines:
        say(line)
    if outcome.verification:
        say()
        for line in describe_verification(outcome.verification):
            say(line)
    say()
    console.print(tabulate_ledger(outcome.ledger))
    say()
    num_steps = plan.experiment.training.num_steps
    say(f"Wide model: {outcome.folder.checkpoint}  ({num_steps} steps in {outcome.training_seconds:.0f} s)")
    say(f"MLflow:     {view_command(outcome.tracking_uri, program('mlflow'))}")
    if not outcome.is_recorded:
        say("MLflow lacks the last results; the same command writes them when it answers again.")
