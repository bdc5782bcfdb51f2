"""norm_dict.yaml and class_dict.yaml: how inputs are standardised and how classes are weighted.

norm_dict.yaml    {dataset: {variable: {mean: ..., std: ...}}}
class_dict.yaml   {dataset: {label: [weight of class 0, weight of class 1, ...]}}
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import DTypeLike, NDArray

from raytag.errors import DataError, Problem

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
    entries = _section(_read_yaml(path), path, dataset)
    problems: list[Problem] = []
    mean, std = np.zeros(len(variables)), np.ones(len(variables))
    for column, variable in enumerate(variables):
        entry = entries.get(variable)
        if not isinstance(entry, dict):
            problems.append(_missing(path, dataset, variable, entries))
            continue
        mean[column], std[column] = _number(entry.get("mean")), _number(entry.get("std"))
        where = f"{dataset}.{variable}"
        if not math.isfinite(mean[column]):
            problems.append(Problem(where, f"mean is {entry.get('mean')!r}, expected a number.", file=path))
        if not (math.isfinite(std[column]) and std[column] > 0):
            problems.append(Problem(where, f"std is {entry.get('std')!r}, expected a number above 0.", file=path))
    if problems:
        raise DataError(problems)
    return Scaling(mean, std)


def class_weights(path: Path | None, dataset: str, label: str, num_classes: int) -> NDArray[np.float64]:
    """Read the (num_classes,) weights of a label's classes; without a file every class weighs 1.

    Raises
    ------
    DataError
        The file is missing or no YAML, or the label's weights are not one finite number ≥ 0 per class.
    """
    if path is None:
        return np.ones(num_classes)
    found = _section(_read_yaml(path), path, dataset).get(label)
    where = f"{dataset}.{label}"
    if not isinstance(found, list):
        message = f"no list of weights, expected one weight for each of the {num_classes} classes."
        raise DataError([Problem(where, message, file=path)])
    if len(found) != num_classes:
        message = f"{len(found)} weights, but there are {num_classes} classes."
        raise DataError([Problem(where, message, file=path)])
    weights = np.array([_number(weight) for weight in found])
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(wrong):
        raise DataError(
            [Problem(where, f"weight {i} is {found[i]!r}, expected a number of at least 0.", file=path) for i in wrong]
        )
    if not weights.any():
        raise DataError([Problem(where, "every weight is 0, so no class would be learned.", file=path)])
    return weights


def _read_yaml(path: Path) -> Any:
    if not path.exists():
        raise DataError([Problem("", "no such file.", file=path)])
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError([Problem("", f"cannot be read as YAML: {error}", file=path)]) from error


def _section(document: Any, path: Path, dataset: str) -> dict[str, Any]:
    section = document.get(dataset) if isinstance(document, dict) else None
    if not isinstance(section, dict):
        raise DataError([Problem(dataset, "no such section, or it is not a mapping.", file=path)])
    return section


def _missing(path: Path, dataset: str, variable: str, entries: dict[str, Any]) -> Problem:
    guess = get_close_matches(variable, map(str, entries), n=1)
    hint = f" Did you mean {guess[0]}?" if guess else ""
    return Problem(dataset, f"no mean and std of {variable}.{hint}", file=path)


def _number(value: Any) -> float:
    """Read a number, also one that YAML 1.1 takes for text (1e-5); NaN for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        return float(value)
    except ValueError:
        return math.nan
