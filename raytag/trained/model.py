"""A model built from its file alone: neither the study nor any jets are needed."""

from __future__ import annotations

from pathlib import Path

from raytag.config.document import parse
from raytag.config.experiment import MupConfig, TaggerConfig
from raytag.tagging.tagger import GN2
from raytag.trained.model_file import ModelFile, read_model_file

__all__ = ["build_model", "load_model"]


def load_model(path: Path | str) -> GN2:
    """Return an extracted model in evaluation mode; it reads batches as :mod:`raytag.tagging.packing` makes them.

    Raises
    ------
    StudyError
        The file is missing, damaged or no model of raytag.
    """
    return build_model(read_model_file(path))


def build_model(file: ModelFile) -> GN2:
    """Build the model that a file holds, in evaluation mode and in the precision of its parameters."""
    experiment = parse(file.experiment).value
    mup = MupConfig.model_validate(experiment["mup"])
    model = GN2(
        TaggerConfig.model_validate(experiment["model"]),  # of the other sections none: the file outlives their changes
        num_inputs=len(file.jets.names) + len(file.tracks.names),
        num_classes=len(file.class_names),
        width=file.trial.width,
        base_width=mup.base_width,
        parametrisation=mup.parametrisation,
    )
    model.to(file.dtype)
    model.set_hyperparameters(file.trial.hyperparameters)
    model.load_state_dict(dict(file.state_dict))
    return model.eval()
