"""``raytag check``: run the muP gates of an experiment, more thoroughly than a search does before its first trial."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from raytag.cli.arguments import add_experiment
from raytag.errors import CheckError, RaytagError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from raytag.config.experiment import Experiment
    from raytag.training.gates import GateReport, Tell

__all__ = ["add_parser", "run"]

# Below the study's own folder, which no file in here makes a study.
FOLDER = "check"
WIDEST = 1000  # characters


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "check",
        help="run the muP gates: would the model transfer?",
        description=(
            "Run the two muP gates through the experiment's own batches: a widened model must train exactly like the "
            "narrow one, with every optimizer and schedule (duplication), and activations must not grow with the "
            "width (coordinates). Tables say what muP asks of every layer and how each behaves; gates.json and "
            "coordinates.png hold the figures. The exit code is 1 if a gate fails."
        ),
    )
    add_experiment(parser)
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FOLDER", help=f"folder for the files (default: {FOLDER} in the study's)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the gates' figures and their verdict, and write them into files.

    Raises
    ------
    CheckError
        If a gate failed.
    """
    import torch
    from rich.console import Console

    from raytag.cli.experiments import check_data_of
    from raytag.config.load import load_experiments

    experiments = load_experiments(arguments.file, arguments.overrides)
    check_data_of(experiments)
    torch.set_num_threads(1)  # two OpenMP threads were 2 to 10 times slower on a shared machine
    console, failed = Console(), []
    for experiment in (chosen := _with_gates_of_their_own(experiments)):
        if len(experiments) > 1:
            console.print(f"{experiment.name}:", style="bold", highlight=False)
        report = _check(experiment, console)
        _show(report, console)
        _write(report, _folder(arguments.output, experiment, is_alone=len(chosen) == 1), console)
        failed += [] if report.passed else [experiment]
    if failed:
        raise CheckError(f"{arguments.file}: the muP gates failed, so its hyperparameters would not transfer.")


def _with_gates_of_their_own(experiments: Sequence[Experiment]) -> list[Experiment]:
    """Leave out controls, which must fail, beside what they control, and those whose gates would repeat another's."""
    from raytag.config.resolved import gates_digest

    subjects = [each for each in experiments if each.mup.parametrisation == "mup"] or experiments
    return list({gates_digest(each): each for each in reversed(subjects)}.values())[::-1]


def _check(experiment: Experiment, console: Console) -> GateReport:
    from raytag.training import gates
    from raytag.training.duplication_gate import EVERY_COMBINATION
    from raytag.workloads import open_workload

    with _telling(console) as tell:
        return gates.run_gates(open_workload, experiment, combinations=EVERY_COMBINATION, tell=tell)


@contextmanager
def _telling(console: Console) -> Iterator[Tell]:
    """Show on a terminal what is being done, elsewhere a line for each gate."""
    if console.is_terminal:
        with console.status("Checking muP ...") as status:
            yield lambda gate, what: status.update(f"Checking muP: {gate}: {what} ...")
        return
    begun: set[str] = set()

    def tell(gate: str, _what: str) -> None:
        if gate not in begun:
            print(f"Checking muP: {gate} ...", flush=True)
        begun.add(gate)

    yield tell


def _show(report: GateReport, console: Console) -> None:
    from raytag.report.gate_tables import tabulate_duplication, tabulate_layers

    figures = report.to_dict()
    for table in (tabulate_layers(figures), tabulate_duplication(figures)):
        console.print()
        _print_whole(table, console)
    console.print()
    for line in report.lines():
        console.print(line, highlight=False, soft_wrap=True)


def _print_whole(table: Table, console: Console) -> None:
    """Print a table as wide as it is: a terminal may wrap it, a file has no width."""
    from rich.console import Console

    natural = console.measure(table, options=console.options.update(max_width=WIDEST)).maximum
    Console(width=max(natural, console.width)).print(table)


def _folder(output: Path | None, experiment: Experiment, *, is_alone: bool) -> Path:
    if output is None:
        return experiment.study_folder / FOLDER
    return output if is_alone else output / experiment.name


def _write(report: GateReport, folder: Path, console: Console) -> None:
    from raytag.files import write_json
    from raytag.report.gate_picture import draw_coordinates

    figures, picture = folder / "gates.json", folder / "coordinates.png"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(figures, report.to_dict())
        draw_coordinates(report.to_dict(), picture)
    except OSError as error:
        raise RaytagError(f"{folder}: cannot be written ({error.strerror}). Name another folder with -o.") from error
    for path in (figures, picture):
        console.print(f"Written: {path}", highlight=False, soft_wrap=True)
