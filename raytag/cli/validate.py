"""``raytag validate``: check an experiment, its search space and its data, and say what would run."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from raytag.cli.arguments import add_experiment

if TYPE_CHECKING:
    from raytag.config.experiment import Experiment
    from raytag.config.space import Distribution, SearchSpace
    from raytag.data.h5 import Contents

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "validate",
        help="check an experiment, its search space and its data",
        description="Check an experiment, its search space and its data, and say what would run. Nothing is trained.",
    )
    add_experiment(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print what would run, or raise all the problems."""
    from raytag.config.load import load_experiment, load_space
    from raytag.data.h5 import check_data, inspect

    experiment = load_experiment(arguments.file, arguments.overrides)
    space = load_space(experiment.search.space)
    check_data(experiment)
    data = experiment.data
    paths = {"train": data.train, "val": data.val, "test": data.test}
    contents = {split: inspect(path) for split, path in paths.items() if path is not None}

    print(f"{arguments.file} is valid.\n")
    print("\n".join(_table(_plan(experiment, contents))))
    print()
    print("\n".join(_table([("searched", "values", "transfer"), *_searched(space)])))


def _plan(experiment: Experiment, contents: Mapping[str, Contents]) -> Iterator[tuple[str, str]]:
    model, mup, training, search = experiment.model, experiment.mup, experiment.training, experiment.search
    yield "study", str(experiment.study_folder)
    yield "model", f"{model.num_layers} layers, {model.num_heads} heads; {', '.join(model.tasks)}"
    yield "widths", f"{', '.join(map(str, search.widths))}; {mup.parametrisation}, base width {mup.base_width}"
    num_trials = search.trials_per_width * len(search.widths)
    yield "trials", f"{search.trials_per_width} of each width, {num_trials} in all"
    yield "members", _members(experiment)
    yield "noise", _noise(experiment)
    yield "sampler", _sampler(experiment)
    yield (
        "training",
        f"{training.num_steps:,} steps of {training.batch_size:,} jets, {training.optimizer}, {training.schedule}",
    )
    yield "pruning", _pruning(experiment)
    yield (
        "inputs",
        f"{len(experiment.data.jet_variables)} jet and {len(experiment.data.track_variables)} track variables",
    )
    limits = {split: getattr(experiment.data, f"num_{split}_jets") for split in contents}
    yield "jets", ", ".join(f"{limits[split] or file.num_jets:,} {split}" for split, file in contents.items())
    yield "classes", ", ".join(contents["train"].class_names)


def _members(experiment: Experiment) -> str:
    """Say how many trainings make a trial, and how they become one objective."""
    search = experiment.search
    num, num_trials = search.num_members, search.trials_per_width * len(search.widths)
    if num == 1:
        return f"1 training of each trial, {num_trials} trainings in all"
    parts = [f"{count} {name}" for count, name in ((search.replicas, "seeds"), (search.folds, "folds")) if count > 1]
    best = f"mean of the best {100 * search.best_fraction:g} %"
    objective = {"mean": "mean", "worst": "worst", "best_fraction": best}[search.reduction]
    return f"{' × '.join(parts)} of each trial, {num * num_trials} trainings in all; objective: the {objective}"


def _noise(experiment: Experiment) -> str:
    """Say what trials will be told apart by (:func:`raytag.records.difference`)."""
    from raytag.records import num_taken

    search = experiment.search
    number = num_taken(search.num_members, search.reduction, search.best_fraction)
    if number == 1:
        return "standard error over the validation jets; another seed is not in it"
    if search.folds > 1 and search.reduction == "mean":
        return f"paired differences over {search.folds} folds, which hold out the same jets from every trial"
    return f"standard error over {number} trainings"


def _sampler(experiment: Experiment) -> str:
    search = experiment.search
    if search.sampler == "random" or search.scheduler == "pbt":
        return f"random, seed {search.seed}"
    return f"{search.sampler} after {search.num_startup_trials} random trials of each width, seed {search.seed}"


def _pruning(experiment: Experiment) -> str:
    """List the steps at which trials are stopped, or say what a population does instead."""
    search, rungs = experiment.search, []
    if search.scheduler == "pbt":
        every = search.perturb_every or experiment.training.evaluate_every
        return f"none; in populations of {search.population} the worst go on from the best every {every:,} steps"
    rung = search.first_rung or experiment.training.num_steps
    while rung < experiment.training.num_steps:
        rungs.append(f"{rung:,}")
        rung *= search.reduction_factor
    if not rungs:
        return "none: every trial trains to the end"
    return f"at {', '.join(rungs)} steps; one trial in {search.reduction_factor} goes on"


def _searched(space: SearchSpace) -> Iterator[tuple[str, str, str]]:
    for name, distribution in space.root.items():
        yield name, _values(distribution), distribution.transfer


def _values(distribution: Distribution) -> str:
    if distribution.distribution == "categorical":
        return " or ".join(f"{choice:g}" for choice in distribution.choices)
    scale = "logarithmic" if distribution.distribution == "log_uniform" else "linear"
    return f"{distribution.low:g} to {distribution.high:g}, {scale}"


def _table(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Align the columns of a table."""
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
