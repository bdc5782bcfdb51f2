"""A wide run's model made an ordinary model, as :mod:`raytag.trained.extract` makes one of a trial."""

from __future__ import annotations

from raytag.config.document import load_yaml
from raytag.config.experiment import Experiment
from raytag.errors import StudyError
from raytag.trained.extract import model_file
from raytag.trained.model_file import ModelFile
from raytag.training import checkpoint
from raytag.transfer.folder import WideFolder

__all__ = ["extract_wide"]


def extract_wide(folder: WideFolder) -> ModelFile:
    """Return the wide model as it was last saved; the run may be training.

    Raises
    ------
    StudyError
        Nothing of it has been saved yet.
    DataError
        The training file or norm_dict.yaml cannot be read.
    """
    if not folder.checkpoint.exists():
        raise StudyError(f"{folder.path}: nothing of this wide run has been saved yet.")
    experiment = Experiment.model_validate(load_yaml(folder.experiment).data)
    saved = checkpoint.load(folder.checkpoint)
    return model_file(experiment, saved, folder.study.name, saved.state.trial.name, folder.provenance)
