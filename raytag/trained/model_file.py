"""One trained model in one file, with all that is needed to use it and to know where it comes from.

The file is a dict of tensors, numbers and text, which ``torch.load(path, weights_only=True)`` returns without raytag
(docs/models.md lists it). How a model is built from it is :mod:`raytag.trained.model`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raytag.config.document import parse
from raytag.config.hyperparameters import Hyperparameters
from raytag.data.scaling import Scaling
from raytag.data.schema import JETS, TRACKS
from raytag.errors import StudyError
from raytag.training.tensor_file import Damaged, read_tensors, write_tensors
from raytag.training.trial import Trial

__all__ = ["Inputs", "ModelFile", "read_model_file", "write_model_file"]

VERSION = 1


@dataclass(frozen=True)
class Inputs:
    """The variables that a model reads from a dataset, in its order, and how it standardises them."""

    names: tuple[str, ...]
    scaling: Scaling

    def to_dict(self) -> dict[str, dict[str, float]]:
        """Return ``{variable: {mean, std}}``, the layout of norm_dict.yaml."""
        rows = zip(self.names, self.scaling.mean.tolist(), self.scaling.std.tolist(), strict=True)
        return {name: {"mean": mean, "std": std} for name, mean, std in rows}

    @classmethod
    def from_dict(cls, entries: Mapping[str, Mapping[str, float]]) -> Inputs:
        """Read what :meth:`to_dict` wrote."""
        mean, std = (np.array([entry[key] for entry in entries.values()], dtype=np.float64) for key in ("mean", "std"))
        return cls(tuple(entries), Scaling(mean, std))


@dataclass(frozen=True)
class ModelFile:
    """The content of an extracted file.

    Attributes
    ----------
    state_dict
        The parameters and buffers of an ordinary ``nn.Module``; muP's multipliers are among the buffers.
    experiment
        The resolved experiment, as YAML.
    trial, step
        The training: its hyperparameters, width and seed, and the optimizer steps taken so far.
    history
        Metrics by step.
    class_names
        What the model tells apart, in the order of its outputs.
    jets, tracks
        What it reads.
    rules
        The role and the muP factors of every parameter, as :meth:`raytag.mup.multipliers.RuleTable.to_dict` has them.
    provenance
        Study and trial, and the versions of the code that trained and extracted.
    """

    state_dict: Mapping[str, Tensor]
    experiment: str
    trial: Trial
    step: int
    history: Mapping[int, Mapping[str, float]]
    class_names: tuple[str, ...]
    jets: Inputs
    tracks: Inputs
    rules: Mapping[str, Any]
    provenance: Mapping[str, Any]

    @property
    def num_steps(self) -> int:
        """The steps of the whole training."""
        num_steps: int = parse(self.experiment).value["training"]["num_steps"]
        return num_steps

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the parameters."""
        return next(tensor.dtype for tensor in self.state_dict.values() if tensor.is_floating_point())


def write_model_file(path: Path, model: ModelFile) -> None:
    """Write a file that is either whole or not there."""
    trial = model.trial
    write_tensors(
        path,
        {
            "raytag_model": VERSION,
            "state_dict": dict(model.state_dict),
            "experiment": model.experiment,
            "name": trial.name,
            "width": trial.width,
            "seed": trial.seed,
            "fold": trial.fold,
            "hyperparameters": trial.hyperparameters.model_dump(),
            "step": model.step,
            "history": {step: dict(metrics) for step, metrics in model.history.items()},
            "class_names": list(model.class_names),
            "variables": {JETS: model.jets.to_dict(), TRACKS: model.tracks.to_dict()},
            "rules": dict(model.rules),
            "provenance": dict(model.provenance),
        },
    )


def read_model_file(path: Path | str) -> ModelFile:
    """Read what :func:`write_model_file` wrote.

    Raises
    ------
    StudyError
        The file is missing, damaged, no model of raytag, or of another version.
    """
    content = _read(Path(path))
    trial = Trial(
        name=content["name"],
        width=content["width"],
        seed=content["seed"],
        hyperparameters=Hyperparameters(**content["hyperparameters"]),
        fold=content["fold"],
    )
    return ModelFile(
        state_dict=content["state_dict"],
        experiment=content["experiment"],
        trial=trial,
        step=content["step"],
        history=content["history"],
        class_names=tuple(content["class_names"]),
        jets=Inputs.from_dict(content["variables"][JETS]),
        tracks=Inputs.from_dict(content["variables"][TRACKS]),
        rules=content["rules"],
        provenance=content["provenance"],
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_tensors(path)
    except OSError as error:
        raise StudyError(f"{path}: {error.strerror}.") from None
    except Damaged as error:
        raise StudyError(f"{path}: not a readable model ({error}). Make it again with: raytag extract STUDY") from None
    keys = content.keys() if isinstance(content, dict) else ()
    if "raytag_checkpoint" in keys:
        raise StudyError(f"{path}: this is a trial's checkpoint. Make a model of it with: raytag extract STUDY TRIAL")
    if "raytag_model" not in keys or content["raytag_model"] != VERSION:
        found = content["raytag_model"] if "raytag_model" in keys else "none"
        raise StudyError(f"{path}: expected a model file of version {VERSION}, found {found}.")
    checked: dict[str, Any] = content
    return checked
