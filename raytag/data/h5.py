"""GN2 h5 files: what one holds, and whether it holds what an experiment asks for.

A file has two structured datasets, ``jets`` (N,) and ``tracks`` (N, slots), in any variable order; the class names are
the ``flavour_label`` attribute of ``jets``. Values are read by :mod:`raytag.data.reading`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import h5py
import numpy as np

from raytag.config.experiment import DataConfig, Experiment, Task
from raytag.config.wording import did_you_mean
from raytag.data.reading import Selection, read_blocks
from raytag.data.scaling import class_weights, read_scaling
from raytag.data.schema import (
    EVENT_NUMBER,
    JET_LABEL,
    JETS,
    ORIGIN_LABEL,
    TRACKS,
    TRUTH_VARIABLES,
    VALID,
    VERTEX_LABEL,
    Origin,
    Split,
)
from raytag.data.values import ValueCheck
from raytag.errors import DataError, Problem

__all__ = ["Contents", "check_data", "class_names", "inspect", "select", "split_path"]

TASK_LABELS: Mapping[Task, tuple[str, ...]] = {
    "jet_classification": (),
    "track_origin": (ORIGIN_LABEL,),
    # pairs are weighted by the origins of their two tracks
    "vertexing": (ORIGIN_LABEL, VERTEX_LABEL),
}

# What a variable must be, in words and as numpy's kinds.
NUMBER = ("a number", "fiub")
INTEGER = ("an integer", "iu")
FLAG = ("true or false", "biu")

# Jets of a file that check_data looks through, 5 µs each; the cache's building looks at all the others.
CHECKED_JETS = 500_000

# Variables named when one is not found.
SHOWN_VARIABLES = 30


@dataclass(frozen=True)
class Contents:
    """What an h5 file holds. Variables map to their types, in the order of the file."""

    path: Path
    num_jets: int
    num_slots: int
    jet_variables: Mapping[str, np.dtype[Any]]
    track_variables: Mapping[str, np.dtype[Any]]
    class_names: tuple[str, ...]


def inspect(path: Path) -> Contents:
    """Return what a file holds, without reading a jet; ``class_names`` is empty if the file does not name them.

    Raises
    ------
    DataError
        The file is missing, no h5 file or truncated, or has no pair of structured datasets ``jets`` and ``tracks``.
    """
    with _open(path) as file:
        problems = [
            problem for name, axes in ((JETS, 1), (TRACKS, 2)) for problem in _dataset_problems(file, name, axes)
        ]
        if problems:
            raise DataError([replace(problem, file=path) for problem in problems])
        jets, tracks = file[JETS], file[TRACKS]
        if len(jets) != len(tracks):
            message = f"{len(tracks):,} rows, but there are {len(jets):,} jets."
            raise DataError([Problem(TRACKS, message, file=path)])
        return Contents(
            path=path,
            num_jets=len(jets),
            num_slots=tracks.shape[1],
            jet_variables={name: jets.dtype[name] for name in jets.dtype.names},
            track_variables={name: tracks.dtype[name] for name in tracks.dtype.names},
            class_names=tuple(
                name.decode() if isinstance(name, bytes) else str(name)
                for name in np.atleast_1d(jets.attrs.get(JET_LABEL, []))
            ),
        )


def class_names(path: Path) -> tuple[str, ...]:
    """Return the jet classes in label order, for instance ("bjets", "cjets", "ujets", "taujets")."""
    return inspect(path).class_names


def split_path(data: DataConfig, split: Split) -> Path | None:
    """Return the file of a split; None if the experiment names none."""
    return {"train": data.train, "val": data.val, "test": data.test}[split]


def select(data: DataConfig, split: Split, tasks: Sequence[Task]) -> Selection:
    """Return what a split's file must provide for these tasks, after checking that it does (values aside).

    Raises
    ------
    DataError
        With all that is wrong with the layout of the file.
    """
    path = split_path(data, split)
    if path is None:
        raise DataError([Problem(f"data.{split}", "the experiment names no such file.")])
    contents = inspect(path)
    wanted = {"train": data.num_train_jets, "val": data.num_val_jets, "test": data.num_test_jets}[split]
    track_labels = tuple(dict.fromkeys(label for task in tasks for label in TASK_LABELS[task]))
    problems = [
        *_size_problems(contents, f"num_{split}_jets", wanted),
        *_class_problems(contents),
        *_variable_problems(path, JETS, contents.jet_variables, data.jet_variables, NUMBER),
        *_variable_problems(path, JETS, contents.jet_variables, (JET_LABEL,), INTEGER),
        *_variable_problems(path, TRACKS, contents.track_variables, data.track_variables, NUMBER),
        *_variable_problems(path, TRACKS, contents.track_variables, track_labels, INTEGER),
        *_variable_problems(path, TRACKS, contents.track_variables, (VALID,), FLAG),
    ]
    if problems:
        raise DataError(problems)
    return Selection(
        path=path,
        num_jets=wanted or contents.num_jets,
        jet_variables=data.jet_variables,
        track_variables=data.track_variables,
        track_labels=track_labels,
        class_names=contents.class_names,
        has_events=not any(_variable_problems(path, JETS, contents.jet_variables, (EVENT_NUMBER,), INTEGER)),
    )


def check_data(experiment: Experiment) -> None:
    """Check every data file of an experiment, layout and values, and report all problems at once.

    The values of the first 500,000 jets of each file are read, 0.3 s for 60,000 jets; those of the others are
    checked while the cache is built. Loads no torch.

    Raises
    ------
    DataError
        With everything that was found.
    """
    problems = list(_truth_problems(experiment.data))
    selections: dict[Split, Selection] = {}
    for split in get_args(Split):
        if split_path(experiment.data, split) is not None:
            with _gathered(problems):
                selections[split] = select(experiment.data, split, experiment.model.tasks)
    for split, selection in selections.items():
        with _gathered(problems):
            _check_values(selection, split)
    problems += _agreement_problems(selections)
    problems += _dictionary_problems(experiment, selections)
    if "train" in selections and selections["train"].num_jets < experiment.training.batch_size:
        message = f"{experiment.training.batch_size} jets, but there are {selections['train'].num_jets} to train on."
        problems.append(Problem("training.batch_size", message))
    if problems:
        raise DataError(list(dict.fromkeys(problems)))  # two splits, or two sections, may share a file


@contextmanager
def _gathered(problems: list[Problem]) -> Iterator[None]:
    """Take over the problems of a DataError and go on."""
    try:
        yield
    except DataError as error:
        problems.extend(error.problems)


def _open(path: Path) -> h5py.File:
    if not path.exists():
        raise DataError([Problem("", "no such file.", file=path)])
    if not path.is_file():
        raise DataError([Problem("", "is not a file.", file=path)])
    try:
        return h5py.File(path)
    except OSError as error:
        reason = str(error).removeprefix("Unable to synchronously open file ").strip("()")
        message = f"cannot be opened as h5 ({reason}). Is it complete? Copy or make it again."
        raise DataError([Problem("", message, file=path)]) from error


def _dataset_problems(file: h5py.File, name: str, num_axes: int) -> Iterator[Problem]:
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset):
        yield Problem(name, f"no such dataset. The file has: {', '.join(file) or 'nothing'}")
    elif dataset.dtype.names is None:
        yield Problem(name, f"holds {dataset.dtype}, expected a structured dataset with named variables.")
    elif dataset.ndim != num_axes:
        expected = "(jets,)" if num_axes == 1 else "(jets, slots)"
        yield Problem(name, f"has shape {dataset.shape}, expected {expected}.")


def _size_problems(contents: Contents, key: str, wanted: int | None) -> Iterator[Problem]:
    if contents.num_jets == 0:
        yield Problem(JETS, "is empty.", file=contents.path)
    elif wanted is not None and wanted > contents.num_jets:
        message = f"has {contents.num_jets:,} jets, data.{key} asks for {wanted:,}. Lower it or leave it out."
        yield Problem(JETS, message, file=contents.path)


def _class_problems(contents: Contents) -> Iterator[Problem]:
    if not contents.class_names:
        message = f"the dataset has no attribute {JET_LABEL} with the class names, such as [bjets, cjets, ujets]."
        yield Problem(JETS, message, file=contents.path)


def _variable_problems(
    path: Path,
    dataset: str,
    found: Mapping[str, np.dtype[Any]],
    wanted: Sequence[str],
    expected: tuple[str, str],
) -> Iterator[Problem]:
    words, kinds = expected
    for name in wanted:
        if name not in found:
            names = [*list(found)[:SHOWN_VARIABLES], *(["..."] if len(found) > SHOWN_VARIABLES else [])]
            yield Problem(
                dataset, f"no variable {name}.{did_you_mean(name, found)} The file has: {', '.join(names)}", file=path
            )
        elif found[name].kind not in kinds:
            yield Problem(dataset, f"{name} has type {found[name]}, expected {words}.", file=path)


def _truth_problems(data: DataConfig) -> Iterator[Problem]:
    forbidden = TRUTH_VARIABLES | {VALID}
    for key, variables in (("jet_variables", data.jet_variables), ("track_variables", data.track_variables)):
        for name in variables:
            if name in forbidden:
                yield Problem(f"data.{key}", f"{name} is no measurement and must not be an input. Remove it.")


def _check_values(selection: Selection, split: Split) -> None:
    # A test file may lack a class (a sample without taus, say); one cannot train or be judged without it.
    check = ValueCheck(selection, needs_every_class=split != "test")
    for block in read_blocks(replace(selection, num_jets=min(selection.num_jets, CHECKED_JETS))):
        check.add(block)
    if problems := check.problems():
        raise DataError(problems)


def _agreement_problems(selections: Mapping[Split, Selection]) -> Iterator[Problem]:
    if "train" not in selections:
        return
    expected = selections["train"].class_names
    for selection in selections.values():
        if selection.class_names != expected:
            message = f"classes {', '.join(selection.class_names)}, but the training file has {', '.join(expected)}."
            yield Problem(JETS, message, file=selection.path)


def _dictionary_problems(experiment: Experiment, selections: Mapping[Split, Selection]) -> list[Problem]:
    data, problems = experiment.data, list[Problem]()
    for dataset, variables in ((JETS, data.jet_variables), (TRACKS, data.track_variables)):
        with _gathered(problems):
            read_scaling(data.norm_dict, dataset, variables)
    if "train" in selections:
        with _gathered(problems):
            class_weights(data.class_dict, JETS, JET_LABEL, len(selections["train"].class_names))
    if "track_origin" in experiment.model.tasks:
        with _gathered(problems):
            class_weights(data.class_dict, TRACKS, ORIGIN_LABEL, len(Origin))
    return problems
