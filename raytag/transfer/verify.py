"""The check of a carried learning rate at the target width: a small study of rates around it, in the wide run's folder.

It is a study like any other: resumed by the same command, recorded in MLflow, and readable for ``raytag report``.
"""

from __future__ import annotations

from rich.console import Console

from raytag.config.experiment import Experiment, SearchConfig
from raytag.config.space import SearchSpace
from raytag.errors import StudyError
from raytag.report.transfer_curves import POINTS_OF_FIT
from raytag.report.verification import Verification, verification_of
from raytag.search.driver import search_in_session
from raytag.search.folder import StudyFolder
from raytag.search.session import RaySession
from raytag.search.study import Study
from raytag.search.verdict import keep_verdict
from raytag.transfer.folder import WideFolder, read_json
from raytag.transfer.plan import TransferPlan

__all__ = ["NUM_TRAININGS", "find_verification", "verify"]

SEEDS = 3
MOST_RATES = 12
NUM_TRAININGS = (SEEDS * POINTS_OF_FIT, SEEDS * MOST_RATES)  # the fewest and the most
# Rates are first compared at this part of the training; those behind the best five, which the fit needs, end there.
FIRST_RUNG = 1 / 3


def verify(session: RaySession, plan: TransferPlan, folder: WideFolder, console: Console) -> Verification:
    """Train the wide model at half and twice the carried rate, go on around the best one, and judge the carried rate.

    Raises
    ------
    StudyError
        No rate could be trained to its end, or workers were lost again and again.
    """
    place = _place(plan, folder)
    experiment, space = _experiment(plan, place), _space(plan)
    if folder.gates.exists() and not place.gates.exists():
        place.prepare(experiment, space)
        keep_verdict(place, experiment, read_json(folder.gates))  # it is the same model
    outcome = search_in_session(session, experiment, space, console)
    if outcome.num_unfinished:
        raise StudyError(f"{place.path}: {outcome.num_unfinished} trials are unfinished. The same command goes on.")
    verification = verification_of(outcome.records, plan.trial.hyperparameters.lr)
    if verification is None:
        raise StudyError(f"{place.path}: at no learning rate did the wide model train to its end.")
    return verification


def find_verification(plan: TransferPlan, folder: WideFolder) -> Verification | None:
    """Return what an earlier command found out, if it went to its end."""
    place = _place(plan, folder)
    if not place.journal.exists():
        return None
    study = Study.load(place)
    return None if study.num_left() else verification_of(study.records(), plan.trial.hyperparameters.lr)


def _place(plan: TransferPlan, folder: WideFolder) -> StudyFolder:
    """Return the study's folder; its name is the study's, in MLflow too."""
    return StudyFolder(folder.path.absolute() / f"{plan.trial.name}-verify")


def _experiment(plan: TransferPlan, place: StudyFolder) -> Experiment:
    """Return the study's experiment: the wide one, at several learning rates with the same seeds."""
    wide = plan.experiment
    every, num_steps = wide.training.evaluate_every, wide.training.num_steps
    first_rung = max(1, round(FIRST_RUNG * num_steps / every)) * every
    search = SearchConfig(
        space=place.space,
        widths=(plan.width,),
        sampler="lr_grid",
        trials_per_width=MOST_RATES,
        seed=wide.search.seed,
        replicas=SEEDS,
        first_rung=first_rung if first_rung < num_steps else None,
    )
    slots = wide.resources.slots
    resources = wide.resources.model_copy(update={"slots": slots and max(slots, SEEDS)})
    changes = {"name": place.path.name, "output": place.path.parent, "search": search, "resources": resources}
    return wide.model_copy(update=changes)


def _space(plan: TransferPlan) -> SearchSpace:
    """Return the bracket that the grid begins with: half, once and twice the carried rate."""
    lr = plan.trial.hyperparameters.lr
    entry = {"distribution": "log_uniform", "low": lr / 2, "high": 2 * lr, "transfer": "yes"}
    return SearchSpace.model_validate({"lr": entry})
