"""The average of a study's best trials, measured beside each of them on the same jets.

Axes: M models, J jets, C classes.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from raytag.config.experiment import Experiment
from raytag.data.schema import Split
from raytag.errors import StudyError
from raytag.records import TrialRecord
from raytag.report.differences import PairedDifference, paired_difference
from raytag.search.folder import StudyFolder
from raytag.search.members import members_of
from raytag.search.study import Study
from raytag.trained.choice import top_trials
from raytag.trained.extract import load_member
from raytag.trained.restore import restore
from raytag.training.precision import parameter_dtype
from raytag.training.workload import Workload

__all__ = ["Ensemble", "MeasuredTrial", "measure_ensemble", "plan_ensemble"]


@dataclass(frozen=True)
class MeasuredTrial:
    """One trial on the jets of a split; of several trainings, the mean of their figures: what one of them gives."""

    record: TrialRecord
    num_members: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class EnsemblePlan:
    """The trials to average, best first by the search's objective, and the jets to measure on."""

    folder: StudyFolder
    experiment: Experiment
    records: tuple[TrialRecord, ...]
    split: Split


@dataclass(frozen=True)
class Ensemble:
    """What the average gives.

    ``probabilities`` (J, C) are the mean over all M models. ``difference`` is the ensemble's loss less the best trial's
    on the same jets, with the best one as the search ranks them.
    """

    plan: EnsemblePlan
    trials: tuple[MeasuredTrial, ...]
    metrics: Mapping[str, float]
    difference: PairedDifference
    probabilities: Tensor

    @property
    def num_models(self) -> int:
        """M."""
        return sum(trial.num_members for trial in self.trials)


def plan_ensemble(folder: StudyFolder, number: int, *, width: int | None = None, split: Split = "test") -> EnsemblePlan:
    """Choose the trials to average: the ``number`` best completed ones, of a width or of all.

    Raises
    ------
    StudyError
        There is no such study or width, not as many completed trials, or the study has no test jets.
    """
    study = Study.load(folder)
    experiment, records = study.experiment, top_trials(study.records(), number, width)
    if split == "test" and experiment.data.test is None:
        raise StudyError(
            f"{folder.path.name}: its experiment names no test jets. Set data.test and run the search command again, "
            "which repeats no trial; or add --split val, which flatters the trials that were chosen on these jets."
        )
    return EnsemblePlan(folder, experiment, tuple(records), split)


def measure_ensemble(
    plan: EnsemblePlan,
    workload: Workload[object],
    on_trial: Callable[[MeasuredTrial], None] = lambda _: None,
) -> Ensemble:
    """Average the class probabilities of all the trials' members; ``on_trial`` hears of each trial that is measured.

    Raises
    ------
    StudyError
        A trial's checkpoint is gone.
    """
    total, num_models = torch.zeros(()), 0
    trials: list[MeasuredTrial] = []
    best_losses = torch.zeros(())
    for record in plan.records:
        predictions = [_predict(plan, workload, record, name) for name in _member_names(plan, record)]
        if not trials:
            of_members = [workload.objective_terms(prediction, plan.split)[0] for prediction in predictions]
            best_losses = torch.stack(of_members).mean(0)
        total, num_models = total + sum(predictions), num_models + len(predictions)
        figures = [workload.score(prediction, plan.split) for prediction in predictions]
        trials.append(MeasuredTrial(record, len(figures), _mean(figures)))
        on_trial(trials[-1])
    probabilities = total / num_models
    losses, weights = workload.objective_terms(probabilities, plan.split)
    return Ensemble(
        plan=plan,
        trials=tuple(trials),
        metrics=workload.score(probabilities, plan.split),
        difference=paired_difference(best_losses.numpy(), losses.numpy(), weights.numpy()),
        probabilities=probabilities,
    )


def _member_names(plan: EnsemblePlan, record: TrialRecord) -> list[str]:
    return [trial.name for trial in members_of(record, plan.experiment.search)]


def _predict(plan: EnsemblePlan, workload: Workload[object], record: TrialRecord, name: str) -> Tensor:
    """Return one training's class probabilities (J, C)."""
    saved, model = load_member(plan.folder, record, name), workload.build_model(record.width)
    restore(model, saved.state, parameter_dtype(workload.experiment.training), workload.device)
    return workload.predict(model, plan.split)


def _mean(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: statistics.fmean(metrics[name] for metrics in figures) for name in figures[0]}
