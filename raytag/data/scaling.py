"""norm_dict.yaml and class_dict.yaml: how inputs are standardised and how classes are weighted.

norm_dict.yaml    {dataset: {variable: {mean: ..., std: ...}}}
class_dict.yaml   {dataset: {label: [weight of class 0, weight of class 1, ...]}}
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from raytag.config.document import Document, load_yaml
from raytag.config.wording import did_you_mean, found
from raytag.errors import ConfigError, DataError, Problem

__all__ = ["Scaling", "class_weights", "read_scaling"]


@dataclass(frozen=True)
class Scaling:
    """Mean and standard deviation of F variables, in the variables' own units."""

    mean: NDArray[np.float64]  # (F,)
    std: NDArray[np.float64]  # (F,)

    def standardise(self, values: NDArray[np.float32], dtype: DTypeLike) -> NDArray[Any]:
        """Return (values − mean) / std of (N, F) values as a new array of ``dtype``, computed in it."""
        scaled = values.astype(dtype)  # always a copy: the values may be a view of the map
        scaled -= self.mean.astype(dtype)
        scaled /= self.std.astype(dtype)
        return scaled


def read_scaling(path: Path, dataset: str, variables: Sequence[str]) -> Scaling:
    """Read the mean and standard deviation of these variables, in this order.

    Raises
    ------
    DataError
        With all that is wrong: a file that is missing or no YAML, a variable it lacks, a mean or standard deviation
        that is not a finite number, or a standard deviation that is not positive.
    """
    document = _load(path)
    entries = _section(document, dataset)
    problems: list[Problem] = []
    mean, std = np.zeros(len(variables)), np.ones(len(variables))
    for column, variable in enumerate(variables):
        if variable not in entries:
            message = f"no mean and std of {variable}.{did_you_mean(variable, entries)}"
            problems.append(document.problem((dataset,), message))
            continue
        entry = entries[variable]
        if not isinstance(entry, dict):
            message = f"expected {{mean: ..., std: ...}}, found {found(entry)}."
            problems.append(document.problem((dataset, variable), message))
            continue
        mean[column], std[column] = _number(entry.get("mean")), _number(entry.get("std"))
        if not math.isfinite(mean[column]):
            message = f"expected a number, found {found(entry.get('mean'))}."
            problems.append(document.problem((dataset, variable, "mean"), message))
        if not (math.isfinite(std[column]) and std[column] > 0):
            message = f"expected a number above 0, found {found(entry.get('std'))}."
            problems.append(document.problem((dataset, variable, "std"), message))
    if problems:
        raise DataError(problems)
    return Scaling(mean, std)


def class_weights(path: Path | None, dataset: str, label: str, num_classes: int) -> NDArray[np.float64]:
    """Read the (num_classes,) weights of a label's classes; without a file every class weighs 1.

    Raises
    ------
    DataError
        The file is missing or no YAML, or the label's weights are not one finite number of at least 0 per class.
    """
    if path is None:
        return np.ones(num_classes)
    document = _load(path)
    key, entries = (dataset, label), _section(document, dataset).get(label)
    if not isinstance(entries, list):
        message = f"expected a list of {num_classes} weights, found {found(entries)}."
        raise DataError([document.problem(key, message)])
    if len(entries) != num_classes:
        raise DataError([document.problem(key, f"{len(entries)} weights, but there are {num_classes} classes.")])
    weights = np.array([_number(entry) for entry in entries])
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0))).tolist()
    problems = [
        document.problem((*key, i), f"expected a number of at least 0 for class {i}, found {found(entries[i])}.")
        for i in wrong
    ]
    if not weights.any():
        problems.append(document.problem(key, "every weight is 0, so nothing would be learned."))
    if problems:
        raise DataError(problems)
    return weights


def _load(path: Path) -> Document:
    try:
        return load_yaml(path)
    except ConfigError as error:
        raise DataError(error.problems) from None


def _section(document: Document, dataset: str) -> dict[str, Any]:
    section = document.data.get(dataset)
    if not isinstance(section, dict):
        message = f"expected a section with the entries of the {dataset}, found {found(section)}."
        raise DataError([document.problem((dataset,), message)])
    return section


def _number(value: Any) -> float:
    """Return a number as float, NaN for anything else."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
