"""One trial of a study made an ordinary model: out of the group it was trained in, into a file of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raytag import __version__
from raytag.config.experiment import Experiment
from raytag.config.resolved import dump_experiment
from raytag.config.wording import did_you_mean, listed
from raytag.data.h5 import inspect
from raytag.data.scaling import read_scaling
from raytag.data.schema import JETS, TRACKS
from raytag.errors import StudyError
from raytag.records import TrialRecord, TrialState
from raytag.search.folder import StudyFolder
from raytag.search.members import members_of
from raytag.search.study import Study
from raytag.tagging.tagger import GN2
from raytag.trained.choice import BEST, choose_trial
from raytag.trained.model_file import Inputs, ModelFile
from raytag.trained.restore import restore
from raytag.training import checkpoint
from raytag.training.checkpoint import Checkpoint
from raytag.training.precision import parameter_dtype

__all__ = ["extract", "load_member", "model_file"]


def extract(
    folder: StudyFolder, trial: str = BEST, *, width: int | None = None, member: str | None = None
) -> ModelFile:
    """Return a trial's model as it was last saved; the search may be running.

    Parameters
    ----------
    trial, width
        A trial's name, or ``best`` for the completed one with the lowest objective, of a width or of all.
    member
        Which of its trainings, as in ``r1f0``, if the study trains every trial several times.

    Raises
    ------
    StudyError
        There is no such study, trial or member, or it has no checkpoint.
    DataError
        The training file or norm_dict.yaml cannot be read.
    """
    study = Study.load(folder)
    record = choose_trial(study.records(), trial, width)
    name = _choose_member(study.experiment, record, member)
    saved = load_member(folder, record, name)
    return model_file(study.experiment, saved, folder.path.name, record.name, folder.provenance)


def load_member(folder: StudyFolder, record: TrialRecord, name: str) -> Checkpoint:
    """Load the last checkpoint of one of a trial's trainings.

    Raises
    ------
    StudyError
        There is none; the text says why.
    """
    path = folder.checkpoint(name)
    if not path.exists():
        raise StudyError(f"{record.name}: {_why_not_saved(record)} {path} does not exist.")
    return checkpoint.load(path)


def model_file(
    experiment: Experiment, saved: Checkpoint, study: str, trial: str, provenance: Sequence[Path]
) -> ModelFile:
    """Return a checkpoint's model with all that is needed to use it; ``provenance`` are the files of its commands.

    Raises
    ------
    DataError
        The training file or norm_dict.yaml cannot be read.
    """
    data, mup = experiment.data, experiment.mup
    class_names = inspect(data.train).class_names
    model = GN2(
        experiment.model,
        num_inputs=len(data.jet_variables) + len(data.track_variables),
        num_classes=len(class_names),
        width=saved.state.trial.width,
        mup=mup,
    )
    restore(model, saved.state, parameter_dtype(experiment.training))
    return ModelFile(
        state_dict=model.state_dict(),
        experiment=dump_experiment(experiment),
        trial=saved.state.trial,
        step=saved.state.step,
        history=saved.history,
        class_names=class_names,
        jets=Inputs(data.jet_variables, read_scaling(data.norm_dict, JETS, data.jet_variables)),
        tracks=Inputs(data.track_variables, read_scaling(data.norm_dict, TRACKS, data.track_variables)),
        rules=saved.table.to_dict(),
        provenance={"study": study, "trial": trial, "extracted_by": __version__, **_origin(provenance)},
    )


def _choose_member(experiment: Experiment, record: TrialRecord, member: str | None) -> str:
    """Return the name of the training that ``--member`` means."""
    names = [trial.name for trial in members_of(record, experiment.search)]
    if names == [record.name]:
        if member is not None:
            raise StudyError(f"--member {member}: {record.name} was trained once. Leave --member out.")
        return record.name
    suffixes = [name.removeprefix(f"{record.name}-") for name in names]
    if member is None:
        raise StudyError(
            f"{record.name}: it was trained {len(names)} times. Choose one with --member {listed(suffixes)}, "
            "or average them with raytag ensemble."
        )
    if member not in suffixes:
        message = f"--member {member}: {record.name} has no such member.{did_you_mean(member, suffixes)}"
        raise StudyError(f"{message} It has {listed(suffixes, 'and')}.")
    return f"{record.name}-{member}"


def _why_not_saved(record: TrialRecord) -> str:
    match record.state:
        case TrialState.PRUNED:
            return f"it was pruned at step {record.last_step}, and a pruned trial's checkpoint is not kept."
        case TrialState.FAILED:
            return f"it failed ({record.failure_reason}), and a failed trial's checkpoint is not kept."
        case TrialState.RUNNING:
            return "it is running, and nothing of it has been saved yet."
    return "it completed, but its checkpoint is gone."


def _origin(provenance: Sequence[Path]) -> dict[str, Any]:
    """Return what the last command was made of: raytag, its git commit, the packages and the time."""
    if not provenance:
        return {}
    origin = json.loads(provenance[-1].read_text())
    code = origin["code"] or {"commit": None, "is_dirty": None}
    return {
        "trained_by": origin["raytag"],
        "commit": code["commit"],
        "is_dirty": code["is_dirty"],
        "packages": origin["packages"],
        "started": origin["started"],
    }
