"""The journal: what is kept of a study, under which names, and how it is read back.

One Optuna study per width in one file, because pruning and TPE must compare like with like: against the losses of a
wide model, every narrow trial would look poor. What is more than a value or an objective is an attribute, of a trial or
of a width. What is written when is :mod:`raytag.search.study`'s to decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from raytag.config.experiment import Experiment
from raytag.config.hyperparameters import Hyperparameters
from raytag.errors import StudyError
from raytag.records import OBJECTIVE, Move, TrialRecord, TrialState
from raytag.search.folder import StudyFolder
from raytag.search.members import Metrics
from raytag.search.sampling import trial_seed

__all__ = ["EXECUTOR", "LOSSES", "MOVE", "MOVES", "PROMOTED", "SLOTS", "WORKER", "Journal", "trial_name"]

# Attributes of a trial.
METRICS = "metrics:"  # "metrics:<step>" → {metric: value}
MEMBERS = "members:"  # "members:<step>" → those of each member, if the trial has several
MOVE = "move:"  # "move:<step>" → from whom a trial of a population goes on after that step, and with what
WORKER, FAILURE, LOSSES = "worker", "failure", "losses"
DIVERGED = "diverged"  # whether a trial failed because a number of its own stopped being finite
PROMOTED = "promoted"  # step of the last rung that the trial has passed

# Attributes of a width.
MOVES = "moves:"  # "moves:<population>:<step>" → all that was decided there, trial by trial
SLOTS = "slots:"  # "slots:<place>" → how many fit into the memory there
EXECUTOR = "executor:"  # "executor:<kind of group>" → what its groups are run with, and why

_STATES = {
    OptunaState.RUNNING: TrialState.RUNNING,
    OptunaState.WAITING: TrialState.RUNNING,
    OptunaState.COMPLETE: TrialState.COMPLETE,
    OptunaState.PRUNED: TrialState.PRUNED,
    OptunaState.FAIL: TrialState.FAILED,
}


class Journal:
    """The trials of an experiment's widths, on disk; ``studies`` holds Optuna's study of every width that has begun.

    A trial is known by its name, ``w<width>-<number>``; numbers count from 0 at each width.
    """

    def __init__(self, experiment: Experiment, studies: Mapping[int, optuna.Study]) -> None:
        self._experiment, self.studies = experiment, studies

    @classmethod
    def open(cls, folder: StudyFolder, experiment: Experiment) -> Journal:
        """Open the file for writing, or begin it, and mend what a killed writer left half done."""
        _mend(folder.journal)
        storage = _storage(folder)
        studies = {
            width: optuna.create_study(
                study_name=_study_name(experiment, width),
                storage=storage,
                direction="minimize",
                load_if_exists=True,
            )
            for width in experiment.search.widths
        }
        journal = cls(experiment, studies)
        journal._end_failed()
        return journal

    @classmethod
    def load(cls, folder: StudyFolder, experiment: Experiment) -> Journal:
        """Open the file for reading; widths that have not begun are left out.

        Raises
        ------
        StudyError
            There is no file.
        """
        if not folder.journal.exists():
            raise StudyError(f"{folder.path}: the search has no trials yet.")
        storage = _storage(folder)
        begun = set(optuna.get_all_study_names(storage))  # a writer may be between two widths, or have died there
        studies = {
            width: optuna.load_study(study_name=name, storage=storage)
            for width in experiment.search.widths
            if (name := _study_name(experiment, width)) in begun
        }
        return cls(experiment, studies)

    # -- reading ----------------------------------------------------------------------------------------------------

    def trials(self, width: int) -> list[FrozenTrial]:
        """Return the trials of a width by number; none if it has not begun."""
        return self.studies[width].get_trials(deepcopy=False) if width in self.studies else []

    def trial(self, name: str) -> FrozenTrial:
        """Return a trial as Optuna knows it; StudyError if there is none of this name."""
        try:
            width, number = _width_and_number(name)
            return self.trials(width)[number]
        except (ValueError, IndexError):
            raise StudyError(f"{self._experiment.name}: no trial {name}.") from None

    def study_of(self, name: str) -> optuna.Study:
        """Return the study of a trial's width."""
        return self.studies[_width_and_number(name)[0]]

    def records(self, width: int) -> list[TrialRecord]:
        """Return what is known of a width's trials, by number."""
        return [self._record(width, frozen) for frozen in self.trials(width)]

    def record(self, name: str) -> TrialRecord:
        """Return what is known of a trial."""
        return self._record(_width_and_number(name)[0], self.trial(name))

    def unfinished(self, width: int) -> list[str]:
        """Return the names of a width's trials that are not finished."""
        return [trial_name(width, frozen.number) for frozen in self.trials(width) if not frozen.state.is_finished()]

    def notes(self, name: str) -> Mapping[str, Any]:
        """Return the attributes of a trial."""
        return self.trial(name).user_attrs

    def notes_of_width(self, width: int) -> Mapping[str, Any]:
        """Return the attributes of a width."""
        return self.studies[width].user_attrs

    # -- writing ----------------------------------------------------------------------------------------------------

    def note(self, name: str, key: str, value: Any) -> None:
        """Set an attribute of a trial."""
        self.study_of(name)._storage.set_trial_user_attr(self.trial(name)._trial_id, key, value)

    def note_of_width(self, width: int, key: str, value: Any) -> None:
        """Set an attribute of a width."""
        self.studies[width].set_user_attr(key, value)

    def note_step(self, name: str, step: int, metrics: Metrics, members: Sequence[Metrics]) -> None:
        """Write a step's metrics; the value comes last, so that a step with a value has all the others."""
        if len(members) > 1:
            self.note(name, f"{MEMBERS}{step}", [dict(of) for of in members])
        self.note(name, f"{METRICS}{step}", dict(metrics))
        storage = self.study_of(name)._storage
        storage.set_trial_intermediate_value(self.trial(name)._trial_id, step, metrics[OBJECTIVE])

    def fail(self, name: str, failure: str, *, diverged: bool) -> None:
        """End a trial as failed; the reason comes first, so that no failed trial lacks it."""
        self.note(name, DIVERGED, diverged)
        self.note(name, FAILURE, failure)
        self.end(name, OptunaState.FAIL)

    def end(self, name: str, state: OptunaState, objective: float | None = None) -> None:
        """End a trial; one that is complete has an objective."""
        self.study_of(name).tell(_width_and_number(name)[1], objective, state)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _end_failed(self) -> None:
        """End the trials that a process had called failed when it was killed."""
        for width in self.studies:
            for name in self.unfinished(width):
                if FAILURE in self.trial(name).user_attrs:
                    self.end(name, OptunaState.FAIL)

    def _record(self, width: int, frozen: FrozenTrial) -> TrialRecord:
        search, attributes = self._experiment.search, frozen.user_attrs
        steps = sorted(frozen.intermediate_values)
        fixed = self._experiment.hyperparameters.model_dump()
        first = Hyperparameters(**{**fixed, **frozen.params})
        moves = {step: Move.from_dict(move) for step in steps if (move := attributes.get(f"{MOVE}{step}"))}
        return TrialRecord(
            name=trial_name(width, frozen.number),
            width=width,
            number=frozen.number,
            seed=trial_seed(search, frozen.number),
            has_paired_seeds=search.has_paired_seeds,
            state=_STATES[frozen.state],
            searched=dict(frozen.params),
            hyperparameters=moves[max(moves)].hyperparameters if moves else first,
            moves=moves,
            history={step: attributes[f"{METRICS}{step}"] for step in steps},
            members={step: tuple(of) for step in steps if (of := attributes.get(f"{MEMBERS}{step}"))},
            num_folds=search.folds,
            reduction=search.reduction,
            best_fraction=search.best_fraction,
            worker=attributes.get(WORKER),
            failure=attributes.get(FAILURE),
            # In studies from before this was noted, every failed trial counts as diverged, as it did then.
            has_diverged=frozen.state is OptunaState.FAIL and attributes.get(DIVERGED, True),
        )


def trial_name(width: int, number: int) -> str:
    """Return the name of a trial."""
    return f"w{width}-{number:04d}"


def _width_and_number(name: str) -> tuple[int, int]:
    width, _, number = name.removeprefix("w").partition("-")
    return int(width), int(number)


def _study_name(experiment: Experiment, width: int) -> str:
    return f"{experiment.name}.w{width}"


def _storage(folder: StudyFolder) -> JournalStorage:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return JournalStorage(JournalFileBackend(str(folder.journal)))


def _mend(path: Path) -> None:
    """Drop a half-written last line and a stale lock, as a killed writer leaves them.

    Optuna would append to the half line and could never read the file again; for the lock it would wait 30 s.
    """
    Path(f"{path}.lock").unlink(missing_ok=True)
    if path.exists() and not (content := path.read_bytes()).endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)
