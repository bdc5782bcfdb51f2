"""A trial on disk: everything needed to go on with it, in one file that is either whole or not there.

The file holds tensors, numbers and strings only, so ``torch.load(weights_only=True)`` reads it. Hyperparameters and
rule table are inside: resume and inference need no other file.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch

from raytag.config.hyperparameters import Hyperparameters
from raytag.errors import StudyError
from raytag.mup.multipliers import RuleTable
from raytag.training.trial import RowState, Trial

__all__ = ["Checkpoint", "load", "save"]

VERSION = 2

History = Mapping[int, Mapping[str, float]]


@dataclass(frozen=True)
class Checkpoint:
    """A trial's state, the rules its parameters were trained by, and its metrics by step."""

    state: RowState
    table: RuleTable
    history: History


def save(path: Path, state: RowState, table: RuleTable, history: History) -> None:
    """Write a checkpoint; whoever reads meanwhile, or after a crash, finds the old file or the new one."""
    trial = state.trial
    content = {
        "raytag_checkpoint": VERSION,
        "trial": {
            "name": trial.name,
            "width": trial.width,
            "seed": trial.seed,
            "hyperparameters": trial.hyperparameters.model_dump(),
            "fold": trial.fold,
        },
        "step": state.step,
        "parameters": dict(state.parameters),
        "moments": {name: dict(moment) for name, moment in state.moments.items()},
        "rules": table.to_dict(),
        "history": {step: dict(metrics) for step, metrics in history.items()},
    }
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU.

    Raises
    ------
    StudyError
        The file is missing, damaged, no checkpoint of raytag, or of another version.
    """
    content = _read(path)
    trial = content["trial"]
    state = RowState(
        trial=Trial(**{**trial, "hyperparameters": Hyperparameters(**trial["hyperparameters"])}),
        step=content["step"],
        parameters=content["parameters"],
        moments=content["moments"],
    )
    return Checkpoint(state, RuleTable.from_dict(content["rules"]), content["history"])


def _read(path: Path) -> dict[str, Any]:
    try:
        _check_sums(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise StudyError(f"{path}: there is no checkpoint.") from None
    except (RuntimeError, pickle.UnpicklingError, EOFError, BadZipFile) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise StudyError(f"{path}: not a readable checkpoint ({reason}). Remove it to train from the start.") from None
    version = content.get("raytag_checkpoint") if isinstance(content, dict) else None
    if version != VERSION:
        found = "none" if version is None else version
        raise StudyError(f"{path}: expected a raytag checkpoint of version {VERSION}, found {found}.")
    checked: dict[str, Any] = content
    return checked


def _check_sums(path: Path) -> None:
    """Compare the sums that the file keeps of its parts: torch.load reads a flipped bit as another number."""
    with ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise BadZipFile(f"the checksum of {damaged} is wrong")
