"""A warm start: the narrow model's weights, widened, as the wide model's first values.

Every unit is copied (:func:`raytag.mup.duplication.widen`, which leaves the function as it is), and noise tells
the copies apart, as in Net2Net (arXiv:1511.05641); copies that are equal get equal gradients and stay equal.

A warm-started model has trained longer than one from first values, and most of what it gains may be that. So the narrow
model is trained on in the same way, from its own weights, and shown beside it. Both begin at step 0 of a schedule and
with empty moments: those at a training's end belong to a rate near 0 and to the narrow model's gradients, and AdamW's
corrections at step 0 would take them for the first gradient. The schedule warms up anew while they fill. Both see the
jets in another order than the narrow model did before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from raytag.config.document import parse
from raytag.config.experiment import MupConfig, TaggerConfig
from raytag.data.h5 import class_names
from raytag.data.scaling import read_scaling
from raytag.data.schema import JETS, TRACKS
from raytag.errors import StudyError
from raytag.mup.duplication import widen
from raytag.search.folder import StudyFolder
from raytag.search.members import members_of
from raytag.search.study import Study
from raytag.trained.choice import BEST, choose_trial
from raytag.trained.extract import extract
from raytag.trained.model_file import Inputs, ModelFile
from raytag.training import checkpoint
from raytag.training.trial import RowState, Trial
from raytag.training.trial_group import TrialGroup
from raytag.training.workload import Workload
from raytag.transfer.extract import extract_wide
from raytag.transfer.folder import WideFolder
from raytag.transfer.plan import Start, TransferPlan
from raytag.transfer.source import Source
from raytag.workloads import open_workload

__all__ = [
    "NOISE",
    "WarmStart",
    "check_start",
    "continued_state",
    "narrow_model",
    "plan_warm_start",
    "widened_state",
    "write_starts",
]

# The noise is a fresh wide model's first values, times this. After 1200 steps the wide model with .1 was where
# the narrow one was, with .5 ahead of it; with 1 the narrow model's work is half lost (docs/design.md).
NOISE = 0.5

# They belong to the weights: with other values the widened model would be another function.
MULTIPLIERS = ("alpha_output", "alpha_attention")


@dataclass(frozen=True)
class WarmStart:
    """The narrow model, two trainings that begin with its weights, widened and as they are, and one from scratch."""

    narrow: ModelFile
    wide: TransferPlan
    continued: TransferPlan
    scratch: TransferPlan


def narrow_model(source: Source) -> ModelFile:
    """Return the model to widen: a wide run's, or that of a study's trial, the best one unless it is named.

    Of a trial that was trained several times it is the first training, unless the name is another's ("w32-0007-r1").

    Raises
    ------
    StudyError
        There is none, or nothing of it has been saved.
    """
    return extract_wide(source.wide) if source.wide else _extract(source.study, source.trial or BEST)


def plan_warm_start(plan: TransferPlan, study: str, narrow: ModelFile) -> WarmStart:
    """Let the wide model that is planned in a study begin with the widened weights of a narrow one.

    Raises
    ------
    StudyError
        The narrow model cannot be widened to that width, or is of another structure.
    """
    _check(plan, narrow)
    own = {name: getattr(narrow.trial.hyperparameters, name) for name in MULTIPLIERS}
    experiment = plan.experiment.model_copy(
        update={
            "hyperparameters": plan.experiment.hyperparameters.model_copy(update=own),
            "training": plan.experiment.training.model_copy(
                update={"data_seed": plan.experiment.training.data_seed + 1}
            ),
        }
    )
    carried = tuple(replace(entry, value=own.get(entry.name, entry.value)) for entry in plan.carried)
    width, name = narrow.trial.width, _name_in(study, narrow)
    weights = None if name == plan.narrow else name
    search = experiment.search.model_copy(update={"widths": (width,)})
    narrow_experiment = experiment.model_copy(update={"name": f"{experiment.name}-continued", "search": search})
    wide = replace(plan, experiment=experiment, carried=carried, start=Start("widened", weights))
    return WarmStart(
        narrow,
        wide=wide,
        continued=replace(wide, experiment=narrow_experiment, width=width, start=Start("continued", weights)),
        scratch=plan,
    )


def check_start(warm: WarmStart, folder: WideFolder) -> None:
    """Check that a wide run that has begun did so with the weights that the narrow model has now.

    Raises
    ------
    StudyError
        It began with others.
    """
    start, weights = folder.continued.start, warm.narrow.state_dict
    if not start.exists():
        return
    begun = checkpoint.load(start).state.parameters
    if not all(torch.equal(values, weights[name].to(values)) for name, values in begun.items()):
        raise StudyError(
            f"{start}: this run began with other weights than {warm.narrow.trial.name} has now. Move it aside with "
            "--restart."
        )


def write_starts(warm: WarmStart, folder: WideFolder, device: torch.device) -> None:
    """Write what both trainings begin with into their folders, unless they have begun (:func:`check_start`)."""
    workload = open_workload(warm.wide.experiment, device)
    weights, width = warm.narrow.state_dict, warm.narrow.trial.width
    states = {
        folder.continued: continued_state(workload, warm.continued.trial, weights),
        folder: widened_state(workload, warm.wide.trial, weights, width),
    }
    for place, state in states.items():
        if not place.start.exists():
            checkpoint.save(place.start, state, workload.rule_table(state.trial.width), {})


def continued_state(workload: Workload[Any], trial: Trial, parameters: Mapping[str, Tensor]) -> RowState:
    """Return the beginning of a training from these weights, with empty moments."""
    return widened_state(workload, trial, parameters, trial.width, noise=0.0)


def widened_state(
    workload: Workload[Any], trial: Trial, parameters: Mapping[str, Tensor], width: int, noise: float = NOISE
) -> RowState:
    """Return the beginning of a wide training from the weights of a model of ``width``, with empty moments.

    The noise follows from the trial's seed alone. Without noise the state is the same function as the narrow model.
    """
    group = TrialGroup(workload, trial.width, slots=1)
    group.start(0, trial)
    state = group.state(0)  # of step 0, with moments of zero
    widened = widen(parameters, workload.rule_table(width), group.table)
    return replace(
        state, parameters={name: values + noise * state.parameters[name] for name, values in widened.items()}
    )


def _extract(folder: StudyFolder, name: str) -> ModelFile:
    """Return the model of one of the study's trainings, or of a trial's first one."""
    study = Study.load(folder)
    records, search = study.records(), study.experiment.search
    trials = {training.name: record for record in records for training in members_of(record, search)}
    trial = trials.get(name) or choose_trial(records, name)
    training = name if name in trials else members_of(trial, search)[0].name
    return extract(folder, trial.name, member=training.removeprefix(trial.name).removeprefix("-") or None)


def _name_in(study: str, narrow: ModelFile) -> str:
    """Return the model's name, behind that of its study if it is another one."""
    home, name = narrow.provenance["study"], narrow.trial.name
    return name if home == study else f"{home}-{name}"


def _check(plan: TransferPlan, narrow: ModelFile) -> None:
    """Raise a StudyError that names what keeps this model from being widened."""
    name, width = narrow.trial.name, narrow.trial.width
    if plan.experiment.mup.parametrisation != "mup":
        raise StudyError("--warm-start: only muP makes a widened model the same function; this study is the control.")
    if plan.width <= width or plan.width % width:
        below = max(2, plan.width // width)
        raise StudyError(
            f"--width {plan.width}: {name} has width {width}, and each of its units is copied equally often. Nearest "
            f"widths: {below * width}, {(below + 1) * width}."
        )
    found = _structure_of(narrow)
    if differing := [key for key, value in _structure(plan).items() if value != found[key]]:
        raise StudyError(
            f"--warm-start: {name} cannot be widened, as it differs from the wide model in {', '.join(differing)}."
        )


def _structure(plan: TransferPlan) -> dict[str, Any]:
    """Return what a model must share with the wide one to be its narrow version."""
    data = plan.experiment.data
    jets, tracks = (
        Inputs(names, read_scaling(data.norm_dict, dataset, names))
        for dataset, names in ((JETS, data.jet_variables), (TRACKS, data.track_variables))
    )
    return _named(plan.experiment.model, plan.experiment.mup, jets, tracks, class_names(data.train))


def _structure_of(narrow: ModelFile) -> dict[str, Any]:
    experiment = parse(narrow.experiment).value
    model, mup = TaggerConfig.model_validate(experiment["model"]), MupConfig.model_validate(experiment["mup"])
    return _named(model, mup, narrow.jets, narrow.tracks, narrow.class_names)


def _named(model: TaggerConfig, mup: MupConfig, jets: Inputs, tracks: Inputs, names: Sequence[str]) -> dict[str, Any]:
    return {
        **{f"model.{key}": value for key, value in model},
        **{f"mup.{key}": value for key, value in mup if key != "skip_check"},
        "its inputs": [*jets.to_dict().items(), *tracks.to_dict().items()],
        "its classes": tuple(names),
    }
