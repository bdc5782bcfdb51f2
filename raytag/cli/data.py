"""``raytag data``: make jets (``simulate``) and look at a file of jets (``info``)."""

from __future__ import annotations

import argparse
from pathlib import Path

from raytag.data.simulate.settings import PROCESSES, Settings

__all__ = ["add_parser"]

_SIMULATE = """\
Simulate jets: Pythia8 events, FastJet anti-kt 0.4 jets, tracks of a parametric ATLAS-like tracker.

OUT gets pp_output_train.h5, pp_output_val.h5, pp_output_test_PROCESS.h5 (eventNumber % 10 in 0-7, 8, 9) in the GN2
layout, norm_dict.yaml and class_dict.yaml. In train and val a class that outnumbers the process's target class is drawn
down to the target's spectrum of pT and |eta|, bin by bin; a class that is rarer, and τ jets, keep all their jets. Test
jets are not resampled. No file has jets without a track, or with a prompt lepton inside. Where a process makes too few
τ jets to train on, they are left out and the files name three classes.

The same options give the same bytes on any number of cores. After Ctrl-C the same command goes on."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser("data", help="simulate jets, or show what a file of jets holds")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_simulate(commands)
    _add_info(commands)


def _add_simulate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    processes = "\n".join(
        f"  {name:8s} {process.meaning}; target {process.target.name.lower()}" for name, process in PROCESSES.items()
    )
    parser = commands.add_parser(
        "simulate",
        help="simulate jets in the GN2 layout",
        description=_SIMULATE,
        epilog=f"processes:\n{processes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="folder for the files")
    parser.add_argument("--process", default="ttbar", metavar="NAME", help="one of the processes below (default ttbar)")
    parser.add_argument(
        "--jets", type=int, default=60_000, metavar="N", help="jets to make for all three files (default 60000)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of everything (default 1)")
    parser.add_argument(
        "--full", action="store_true", help="simulate multi-parton interactions, not an overlay (5 times slower)"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="processes at work (default: one per core)")
    parser.set_defaults(run=run_simulate)


def _add_info(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "info",
        help="show what a file of jets holds",
        description="Show what a GN2 h5 file holds, and draw the key distributions of each flavour.",
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="h5 file")
    parser.add_argument(
        "-o", "--output", metavar="PNG", type=Path, help="where to draw (default: beside the file, with its name)"
    )
    parser.set_defaults(run=run_info)


def run_simulate(arguments: argparse.Namespace) -> None:
    """Make the data folder unless it is there."""
    from raytag.data.simulate.dataset import simulate
    from raytag.data.simulate.writer import file_names
    from raytag.errors import RaytagError

    settings = Settings(arguments.process, arguments.jets, arguments.seed, is_full=arguments.full)
    if arguments.workers is not None and arguments.workers < 1:
        raise RaytagError(f"--workers {arguments.workers}: expected at least 1.")
    if simulate(arguments.out, settings, arguments.workers):
        print(f"{arguments.out}: {', '.join(file_names(settings.process))}")
    else:
        print(f"{arguments.out}: {settings.num_jets:,} {settings.process} jets are already there.")


def run_info(arguments: argparse.Namespace) -> None:
    """Print the summary and write the picture."""
    from raytag.data.picture import draw_jets
    from raytag.data.summary import summarise

    picture = arguments.output or arguments.file.with_suffix(".png")
    print(summarise(arguments.file))
    draw_jets(arguments.file, picture)
    print(f"\npicture: {picture}")
