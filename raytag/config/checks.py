"""What must agree between the sections of an experiment, its search space and the disk.

Each check yields a key path and what is wrong there; what is inside the data files is :mod:`raytag.data.h5`'s to check.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from raytag.config.document import KeyPath, display_path
from raytag.config.experiment import (
    Experiment,
    Optimizer,
    Schedule,
    SearchConfig,
    TaggerConfig,
    TrainingConfig,
)
from raytag.config.explain import explain, key_paths
from raytag.config.hyperparameters import Hyperparameters
from raytag.config.space import LogUniform, SearchSpace
from raytag.config.wording import did_you_mean, dotted
from raytag.data.schema import TRUTH_VARIABLES, VALID

__all__ = ["check_experiment", "check_ranges", "check_sampler", "check_space_names", "check_tasks", "check_training"]

Finding = tuple[KeyPath, str]

# The last hidden layer of a task head has width / 8 units (GN2: 32 of 256).
_HEAD_DIVISOR = 8

_UNUSED_BY_OPTIMIZER: Mapping[Optimizer, set[str]] = {
    "adamw": set(),
    "lion": {"eps"},
    "muon": set(),
    "sgd": {"beta2", "eps"},
}
_UNUSED_BY_SCHEDULE: Mapping[Schedule, set[str]] = {
    "one_cycle": {"decay_fraction"},
    "warmup_cosine": {"decay_fraction"},
    "cosine_restarts": {"decay_fraction"},
    "warmup_stable_decay": set(),
    "constant": {"decay_fraction", "warmup_fraction"},
}

_NEVER_INPUTS = {VALID: "marks the filled track slots", "eventNumber": "decides the split of its jets"}


def check_experiment(sections: Mapping[str, Any]) -> list[Finding]:
    """Run every check whose sections are valid, on an experiment that may lack the others."""
    experiment = Experiment.model_construct(**sections)
    return [finding for needed, check in _CHECKS if needed <= sections.keys() for finding in check(experiment)]


def check_space_names(names: Mapping[str, Any]) -> Iterator[Finding]:
    """Check that a space samples at least one hyperparameter, and nothing else."""
    if not names:
        yield (), "the space is empty. Name at least one hyperparameter, for example lr."
    known = Hyperparameters.model_fields
    shared = {path[-1]: dotted(path) for path in key_paths(Experiment)}
    for name in names:
        if name in known:
            continue
        if name in shared:
            yield (name,), f"cannot be searched: all trials share {shared[name]}."
        else:
            hint = did_you_mean(name, known) or f" The hyperparameters: {', '.join(known)}."
            yield (name,), f"unknown hyperparameter.{hint}"


def check_ranges(entries: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Check that every value a space can sample is one its hyperparameter accepts."""
    for name, entry in entries.items():
        if name not in Hyperparameters.model_fields:
            continue
        limits = [((name, end), entry[end]) for end in ("low", "high") if end in entry]
        choices = [((name, "choices", index), choice) for index, choice in enumerate(entry.get("choices", ()))]
        for key, value in chain(limits, choices):
            try:
                Hyperparameters.model_validate({name: value})
            except ValidationError as error:
                yield key, explain(error.errors()[0], Hyperparameters, (name,))


def check_sampler(space: SearchSpace, search: SearchConfig) -> Iterator[Finding]:
    """Check that the sampler can draw from a space."""
    if search.sampler != "lr_grid":
        return
    for name in space.root:
        if name != "lr":
            yield (name,), "no effect: search.sampler lr_grid searches the learning rate alone. Delete this entry."
    lr = space.root.get("lr")
    if not isinstance(lr, LogUniform):
        yield ("lr",) if lr else (), "search.sampler lr_grid needs lr with distribution log_uniform."
    elif lr.num_octaves >= search.trials_per_width:
        yield (
            ("lr",),
            f"{lr.num_octaves + 1} rates lie on the grid from {lr.low:g} to {lr.high:g}, more than "
            f"search.trials_per_width ({search.trials_per_width}). Give at least {lr.num_octaves + 6}: what follows "
            "the grid counts too.",
        )


def check_tasks(space: SearchSpace, model: TaggerConfig) -> Iterator[Finding]:
    """Check that the weight of a loss is searched only if its task is trained."""
    for name in space.root:
        task = name.removeprefix("loss_weight_")
        if task != name and task not in model.tasks:
            yield (name,), f"no effect: model.tasks does not train {task}. Train it, or delete this entry."


def check_training(space: SearchSpace, training: TrainingConfig) -> Iterator[Finding]:
    """Check that a hyperparameter is searched only if the optimizer or the schedule has it."""
    for name in space.root:
        if name in _UNUSED_BY_OPTIMIZER[training.optimizer]:
            yield (name,), f"no effect: training.optimizer {training.optimizer} has no {name}. Delete this entry."
        if name in _UNUSED_BY_SCHEDULE[training.schedule]:
            yield (name,), f"no effect: training.schedule {training.schedule} has no {name}. Delete this entry."


def _check_widths(experiment: Experiment) -> Iterator[Finding]:
    """Check that every width splits evenly into attention heads and into the layers of the task heads."""
    model = experiment.model
    name, heads = ("num_heads", model.num_heads) if model.head_width is None else ("head_width", model.head_width)
    widths: list[tuple[KeyPath, int]] = [(("mup", "base_width"), experiment.mup.base_width)]
    widths += [(("search", "widths", index), width) for index, width in enumerate(experiment.search.widths)]
    step = math.lcm(heads, _HEAD_DIVISOR)
    for key, width in widths:
        if width % step:
            divisor = f"{name} {heads}" if width % heads else f"{_HEAD_DIVISOR}, which divides the task heads"
            yield key, f"width {width} is not a multiple of {divisor}. Nearest widths: {_nearest(width, step)}."


def _check_rungs(experiment: Experiment) -> Iterator[Finding]:
    """Check that the first pruning decision falls on a validation inside the trial."""
    first, every = experiment.search.first_rung, experiment.training.evaluate_every
    if first is None:
        return
    key = ("search", "first_rung")
    if first > experiment.training.num_steps:
        yield key, f"{first} steps exceed training.num_steps ({experiment.training.num_steps})."
    if first % every:
        yield key, f"{first} is not a multiple of training.evaluate_every ({every}). Nearest: {_nearest(first, every)}."


def _check_population(experiment: Experiment) -> Iterator[Finding]:
    """Check that population-based training can divide the trials, the steps and the slots."""
    search, training, slots = experiment.search, experiment.training, experiment.resources.slots
    if search.scheduler != "pbt":
        return
    if search.sampler in ("lr_grid", "fixed"):
        yield ("search", "sampler"), f"no effect: pbt changes values, {search.sampler} keeps them. Give random or tpe."
    if search.trials_per_width % search.population:
        nearest = _nearest(search.trials_per_width, search.population)
        yield (
            ("search", "trials_per_width"),
            f"{search.trials_per_width} trials make no whole populations of {search.population}. Nearest: {nearest}.",
        )
    every = training.evaluate_every
    if search.perturb_every is not None and search.perturb_every % every:
        yield (
            ("search", "perturb_every"),
            f"{search.perturb_every} is not a multiple of training.evaluate_every ({every}). "
            f"Nearest: {_nearest(search.perturb_every, every)}.",
        )
    if (generation := search.perturb_every or every) >= training.num_steps:
        yield (
            ("search", "perturb_every") if search.perturb_every else ("training", "evaluate_every"),
            f"no trial is ever replaced: the first generation of pbt lasts {generation} of training.num_steps "
            f"({training.num_steps}) steps. Give fewer.",
        )
    if slots is not None and slots < search.population:
        yield (
            ("resources", "slots"),
            f"{slots} slots cannot hold a population of {search.population} (search.population), which advances in "
            "step. Give at least that many.",
        )
    if search.first_rung is not None:
        yield ("search", "first_rung"), "no effect: pbt stops no trial. Delete it, or set scheduler: halving."
    if search.num_members > 1:
        yield ("search", "scheduler"), "pbt copies single trainings. Give replicas: 1 and folds: 1."


def _check_members(experiment: Experiment) -> Iterator[Finding]:
    """Check that a worker can train all members of a trial at once."""
    search, slots = experiment.search, experiment.resources.slots
    if slots is not None and slots < search.num_members:
        yield (
            ("resources", "slots"),
            f"{slots} slots cannot hold the {search.num_members} trainings of a trial (search.replicas "
            f"{search.replicas} x search.folds {search.folds}), which advance in step. Give at least that many.",
        )


def _check_reduction(experiment: Experiment) -> Iterator[Finding]:
    """Check that the search looks for the optimum that is reported: parabola and intervals are of the seeds' mean."""
    search = experiment.search
    if search.sampler == "lr_grid" and search.reduction != "mean":
        yield (
            ("search", "reduction"),
            f"search.sampler lr_grid needs mean, found {search.reduction}: the report fits the mean of the seeds, so "
            "another reduction would refine the grid elsewhere. Give mean.",
        )


def _check_inputs(experiment: Experiment) -> Iterator[Finding]:
    """Check that the inputs are measured, and each is named once."""
    for section in ("jet_variables", "track_variables"):
        names: tuple[str, ...] = getattr(experiment.data, section)
        for index, name in enumerate(names):
            key = ("data", section, index)
            if name in _NEVER_INPUTS:
                yield key, f"{name} {_NEVER_INPUTS[name]}: it is never an input."
            elif name in TRUTH_VARIABLES or "truth" in name.lower():
                yield key, f"{name} is known only to the simulation: truth never enters the inputs."
            elif name in names[:index]:
                yield key, f"{name} is listed twice."


def _check_batch(experiment: Experiment) -> Iterator[Finding]:
    """Check that an epoch holds at least one batch, since short batches are dropped."""
    batch_size, num_jets = experiment.training.batch_size, experiment.data.num_train_jets
    if num_jets is not None and batch_size > num_jets:
        yield ("training", "batch_size"), f"{batch_size} jets exceed data.num_train_jets ({num_jets})."


def _check_data_files(experiment: Experiment) -> Iterator[Finding]:
    for name in ("train", "val", "test", "norm_dict", "class_dict"):
        path: Path | None = getattr(experiment.data, name)
        if path is not None:
            yield from _check_file(("data", name), path)


def _check_space_file(experiment: Experiment) -> Iterator[Finding]:
    """Check that there is a space exactly if the sampler draws from one."""
    key, search = ("search", "space"), experiment.search
    if search.space is None:
        if search.sampler != "fixed":
            yield key, "missing. Expected a path: YAML file of the search space."
    elif search.sampler == "fixed":
        yield key, "no effect: sampler fixed draws nothing. Delete it, or choose another sampler."
    else:
        yield from _check_file(key, search.space)


def _check_file(key: KeyPath, path: Path) -> Iterator[Finding]:
    if path.is_file():
        return
    if path.is_dir():
        yield key, f"{display_path(path)} is a folder, not a file."
        return
    siblings = [file.name for file in path.parent.glob(f"*{path.suffix}")] if path.parent.is_dir() else []
    yield key, f"no such file: {display_path(path)}.{did_you_mean(path.name, siblings)}"


def _nearest(value: int, step: int) -> str:
    """List the multiples of a step on both sides of a value, 0 left out."""
    below = value // step * step
    return f"{below}, {below + step}" if below else f"{step}"


_CHECKS: tuple[tuple[set[str], Callable[[Experiment], Iterator[Finding]]], ...] = (
    ({"data"}, _check_data_files),
    ({"data"}, _check_inputs),
    ({"model", "mup", "search"}, _check_widths),
    ({"data", "training"}, _check_batch),
    ({"training", "search"}, _check_rungs),
    ({"search", "resources"}, _check_members),
    ({"search"}, _check_reduction),
    ({"training", "search", "resources"}, _check_population),
    ({"search"}, _check_space_file),
)
