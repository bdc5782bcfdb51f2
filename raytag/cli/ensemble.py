"""``raytag ensemble``: average the predictions of a study's best trials."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from raytag.cli.arguments import add_output, check_output
from raytag.cli.sources import add_whole_study, whole_study_of

if TYPE_CHECKING:
    from rich.console import Console

    from raytag.trained.ensemble import Ensemble, EnsemblePlan

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Average the class probabilities of a study's best completed trials (of all their trainings, if they have replicas or
folds), and compare the average with the best trial, jet by jet.

The trials are chosen by their validation loss, so they are measured on the test jets. With --output the averaged
probabilities are written as an h5 file that puma and other plotting tools read (docs/models.md). The figures are
recorded in MLflow, as a run in the study's.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "ensemble",
        help="average the predictions of a study's best trials",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_whole_study(parser)
    parser.add_argument("--top", type=int, required=True, metavar="N", help="trials to average")
    parser.add_argument("--width", type=int, help="take trials of this width only (default: of all widths)")
    parser.add_argument("--split", choices=("test", "val"), default="test", help="jets to measure on (default: test)")
    add_output(parser, "FILE.h5", "none is written")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Measure, print the table and write the file; every mistake is told before torch computes."""
    study = whole_study_of(arguments)
    if arguments.output:
        check_output(arguments.output, force=arguments.force)

    from raytag.trained.ensemble import plan_ensemble

    plan = plan_ensemble(study, arguments.top, width=arguments.width, split=arguments.split)

    from rich.console import Console

    from raytag.trained.record import record_ensemble
    from raytag.trained.scores import write_scores
    from raytag.trained.table import describe_ensemble, tabulate_ensemble

    console = Console()
    ensemble = _measure(plan, console)
    console.print(tabulate_ensemble(ensemble))
    for line in describe_ensemble(ensemble):
        console.print(line, highlight=False, soft_wrap=True)
    if arguments.output:
        write_scores(arguments.output, ensemble)
        console.print(f"Written: {arguments.output}", highlight=False, soft_wrap=True)
    if failure := record_ensemble(ensemble):
        console.print(f"Not recorded in MLflow: {failure}", highlight=False, soft_wrap=True)


def _measure(plan: EnsemblePlan, console: Console) -> Ensemble:
    """Measure with a bar over the trials on a terminal, and a line per trial elsewhere."""
    import torch
    from rich.progress import Progress

    from raytag.trained.ensemble import MeasuredTrial, measure_ensemble
    from raytag.workloads import open_workload

    torch.set_num_threads(1)  # two OpenMP threads were 2 to 10 times slower on a shared machine
    uses_gpu = torch.cuda.is_available() and plan.experiment.resources.gpus_per_worker != 0
    device = torch.device("cuda" if uses_gpu else "cpu")
    workload = open_workload(plan.experiment, device)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("Measuring", total=len(plan.records))

        def follow(trial: MeasuredTrial) -> None:
            progress.update(task, advance=1, description=f"Measured {trial.record.name}")
            if not console.is_terminal:
                console.print(f"{trial.record.name} measured", highlight=False)

        return measure_ensemble(plan, workload, follow)
