"""A trial on disk: everything needed to go on with it, in one file. Hyperparameters and rule table are inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raytag.config.hyperparameters import Hyperparameters
from raytag.errors import StudyError
from raytag.mup.multipliers import RuleTable
from raytag.training.tensor_file import Damaged, read_tensors, write_tensors
from raytag.training.trial import RowState, Trial

__all__ = ["Checkpoint", "load", "save"]

VERSION = 3

History = Mapping[int, Mapping[str, float]]


@dataclass(frozen=True)
class Checkpoint:
    """A trial's state, the rules its parameters were trained by, and its metrics by step.

    ``losses`` are those of the steps since the last metrics; ``seconds`` is what the training took so far.
    """

    state: RowState
    table: RuleTable
    history: History
    losses: Sequence[float] = ()
    seconds: float = 0.0


def save(
    path: Path,
    state: RowState,
    table: RuleTable,
    history: History,
    *,
    losses: Sequence[float] = (),
    seconds: float = 0.0,
) -> None:
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
            "num_steps": trial.num_steps,
        },
        "step": state.step,
        "parameters": dict(state.parameters),
        "moments": {name: dict(moment) for name, moment in state.moments.items()},
        "rules": table.to_dict(),
        "history": {step: dict(metrics) for step, metrics in history.items()},
        "losses": list(losses),
        "seconds": seconds,
    }
    write_tensors(path, content)


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
    return Checkpoint(
        state=state,
        table=RuleTable.from_dict(content["rules"]),
        history=content["history"],
        losses=content["losses"],
        seconds=content["seconds"],
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_tensors(path)
    except FileNotFoundError:
        raise StudyError(f"{path}: there is no checkpoint.") from None
    except Damaged as error:
        raise StudyError(f"{path}: not a readable checkpoint ({error}). Remove it to train from the start.") from None
    version = content.get("raytag_checkpoint") if isinstance(content, dict) else None
    if version != VERSION:
        found = "none" if version is None else version
        raise StudyError(
            f"{path}: expected a raytag checkpoint of version {VERSION}, found {found}. "
            "Use the raytag that wrote it, or remove the file to train from the start."
        )
    checked: dict[str, Any] = content
    return checked
