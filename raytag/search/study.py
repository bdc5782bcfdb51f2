"""The study: what becomes of the trials of an experiment; the only truth about them.

It decides what is tried, when a trial ends, and what a population does; how that is kept is
:mod:`raytag.search.journal`'s matter. One process at a time writes (:mod:`raytag.search.owner`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import TrialState as OptunaState

from raytag.config.experiment import Experiment
from raytag.config.space import SearchSpace
from raytag.records import OBJECTIVE, Move, TrialRecord, TrialState
from raytag.search.folder import StudyFolder
from raytag.search.group_notes import GroupNotes
from raytag.search.journal import LOSSES, MOVE, MOVES, PROMOTED, WORKER, Journal, trial_name
from raytag.search.lr_grid import RATES_OF_A_ROUND
from raytag.search.members import Metrics, members_of, reduce_metrics
from raytag.search.population import evolve
from raytag.search.sampling import RungPruner, generation_seed, new_sampler, prescribe, suggest, wanted_lrs
from raytag.training.trial import Trial

__all__ = ["Study"]


class Study:
    """The trials of an experiment, by name. Every method leaves the journal on disk complete."""

    def __init__(self, experiment: Experiment, space: SearchSpace, journal: Journal | None = None) -> None:
        self._experiment, self._space = experiment, space
        self._journal = journal or Journal(experiment, {})
        self._pruner = RungPruner(experiment.search)

    @classmethod
    def open(cls, folder: StudyFolder, experiment: Experiment, space: SearchSpace) -> Study:
        """Open a study for writing, or begin it. Only one process may do so at a time."""
        study = cls(experiment, space, Journal.open(folder, experiment))
        study._complete_suggestions()
        return study

    @classmethod
    def load(cls, folder: StudyFolder) -> Study:
        """Open a study for reading, whether or not a search is running.

        Raises
        ------
        StudyError
            There is no study in the folder, or its search never began.
        """
        experiment, space = folder.load_settings()
        return cls(experiment, space, Journal.load(folder, experiment))

    @property
    def experiment(self) -> Experiment:
        """The experiment that the study belongs to."""
        return self._experiment

    @property
    def space(self) -> SearchSpace:
        """The searched space."""
        return self._space

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths that have begun, ascending."""
        return tuple(self._journal.studies)

    @property
    def groups(self) -> GroupNotes:
        """What is noted about the groups of each width."""
        return GroupNotes(self._journal)

    # -- reading ----------------------------------------------------------------------------------------------------

    def records(self) -> list[TrialRecord]:
        """Return all trials, width by width in the order they were asked for."""
        return [record for width in self.widths for record in self._journal.records(width)]

    def record(self, name: str) -> TrialRecord:
        """Return one trial."""
        return self._journal.record(name)

    def members(self, name: str) -> tuple[Trial, ...]:
        """Return the trainings that a trial consists of."""
        return members_of(self.record(name), self._experiment.search)

    def unfinished(self, width: int) -> list[str]:
        """Return the names of a width's trials that were asked for and are not finished."""
        return self._journal.unfinished(width)

    def num_losses(self, name: str) -> int:
        """Return how many workers were lost while they trained a trial, since it last recorded a step."""
        losses: int = self._journal.notes(name).get(LOSSES, 0)
        return losses

    @property
    def num_populations(self) -> int:
        """The populations of each width."""
        return self._experiment.search.trials_per_width // self._experiment.search.population

    def num_to_ask(self, width: int) -> int:
        """Return how many trials of a width can be asked for now; others may be wanted once those are finished."""
        search = self._experiment.search
        if search.sampler == "lr_grid":
            return len(wanted_lrs(search, self._space, self._journal.records(width)))
        return max(0, search.most_trials - len(self._journal.trials(width)))

    def num_left(self) -> int:
        """Return how many trials of all widths are to be finished, begun or not, as far as is known."""
        return sum(map(self._num_left, self._experiment.search.widths))

    def most_at_once(self) -> int:
        """Return how many trials may yet be in training at once; under lr_grid a later round may want more than now."""
        return sum(map(self._most_at_once, self._experiment.search.widths))

    # -- writing ----------------------------------------------------------------------------------------------------

    def ask(self, width: int) -> str:
        """Create the next trial of a width and return its name."""
        assert self.num_to_ask(width) > 0, f"width {width} has all its trials"
        study, number = self._journal.studies[width], len(self._journal.trials(width))
        if (values := self._prescribed(width)) is not None:
            study.add_trial(prescribe(values))
        else:
            study.sampler = new_sampler(self._experiment.search, number)
            suggest(study.ask(), self._space)
        return trial_name(width, number)

    def assign(self, name: str, worker: str) -> None:
        """Note which worker trains a trial."""
        self._journal.note(name, WORKER, worker)

    def report(self, name: str, step: int, members: Sequence[Metrics]) -> bool:
        """Record the metrics of a trial's members after ``step`` of their own steps; return whether the trial goes on.

        The trial is judged by the members' reduction (:func:`raytag.search.members.reduce_metrics`). It ends here if
        this was its last step, if it is pruned, or if a member's objective is not finite. A report may safely be
        repeated: a recorded step stays as it is, and a trial whose end was lost with the process that recorded its
        step ends now.
        """
        frozen = self._journal.trial(name)
        if frozen.state.is_finished():
            return False
        if step not in frozen.intermediate_values:
            if reason := self._not_finite(name, step, members):
                self.fail(name, reason, diverged=True)
                return False
            self._journal.note_step(name, step, reduce_metrics(members, self._experiment.search), members)
            if self.num_losses(name):
                self._journal.note(name, LOSSES, 0)  # a trial that gets on is not what kills its workers
        return self._goes_on(name, step)

    def open_population(self, width: int, population: int) -> list[str]:
        """Return the unfinished trials of a population, which begins now if it has not; without its turn, none."""
        size = self._experiment.search.population
        first, end = population * size, (population + 1) * size
        while first <= len(self._journal.trials(width)) < end:
            self.ask(width)
        names = [trial_name(width, number) for number in range(first, end)]
        return [name for name in self.unfinished(width) if name in names]

    def evolve(self, width: int, population: int, step: int) -> dict[str, Move]:
        """Decide, and record, which trials of a population go on from which others after a generation.

        Trials that have failed or have not reported the step take no part. Asked again the answer is the same, whoever
        has failed meanwhile.
        """
        key = f"{MOVES}{population}:{step}"
        if key not in self._journal.notes_of_width(width):
            decided = self._decide(width, population, step)
            self._journal.note_of_width(width, key, {name: move.to_dict() for name, move in decided.items()})
        moves = {name: Move.from_dict(move) for name, move in self._journal.notes_of_width(width)[key].items()}
        for name, move in moves.items():
            if not self._journal.trial(name).state.is_finished():
                self._journal.note(name, f"{MOVE}{step}", move.to_dict())
        return moves

    def fail(self, name: str, reason: str, traceback: str = "", *, diverged: bool = False) -> None:
        """End a trial as failed, with a one-line reason and the traceback if there is one.

        Only if it ``diverged`` does that say anything about its hyperparameters.
        """
        if not self._journal.trial(name).state.is_finished():
            self._journal.fail(name, f"{reason}\n{traceback}".strip(), diverged=diverged)

    def count_loss(self, name: str) -> int:
        """Count that a trial's worker was lost; return how often that has happened since its last recorded step."""
        losses = self.num_losses(name) + 1
        self._journal.note(name, LOSSES, losses)
        return losses

    def annotate(self, key: str, value: Any) -> None:
        """Note something of every width."""
        for width in self.widths:
            self._journal.note_of_width(width, key, value)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _num_left(self, width: int) -> int:
        return len(self.unfinished(width)) + self.num_to_ask(width)

    def _most_at_once(self, width: int) -> int:
        if not (num_left := self._num_left(width)):
            return 0
        num_finished = len(self._journal.trials(width)) - len(self.unfinished(width))
        num_allowed = self._experiment.search.most_trials - num_finished  # all of them are left but under lr_grid
        return max(num_left, min(RATES_OF_A_ROUND, num_allowed))

    def _prescribed(self, width: int) -> dict[str, float] | None:
        """Return the values of a width's next trial if a rule gives them; None if a sampler draws them."""
        search = self._experiment.search
        match search.sampler:
            case "lr_grid":
                return {"lr": wanted_lrs(search, self._space, self._journal.records(width))[0]}
            case "fixed":
                return {}
        return None

    def _decide(self, width: int, population: int, step: int) -> dict[str, Move]:
        """Return the moves at the end of a population's generation."""
        search = self._experiment.search
        first = population * search.population
        records = self._journal.records(width)[first : first + search.population]
        present = [record for record in records if step in record.history and record.state is not TrialState.FAILED]
        return evolve(
            {record.name: record.history[step][OBJECTIVE] for record in present},
            {record.name: record.hyperparameters_at(step) for record in present},
            self._space,
            generation_seed(search, width, population, step),
        )

    def _complete_suggestions(self) -> None:
        """Draw the values that a process still owed a trial when it was killed."""
        for width, study in self._journal.studies.items():
            for frozen in map(self._journal.trial, self.unfinished(width)):
                if len(frozen.params) < len(self._space.root):
                    study.sampler = new_sampler(self._experiment.search, frozen.number)
                    suggest(optuna.Trial(study, frozen._trial_id), self._space)

    def _not_finite(self, name: str, step: int, members: Sequence[Metrics]) -> str | None:
        """Say which member's objective is not a number, if one's is not."""
        for trial, metrics in zip(self.members(name), members, strict=True):
            if not math.isfinite(objective := metrics[OBJECTIVE]):
                whose = f"{trial.name}: " if len(members) > 1 else ""
                return f"{whose}the validation loss became {objective} at step {step}"
        return None

    def _goes_on(self, name: str, step: int) -> bool:
        """End a trial that is complete or pruned at a recorded step; return whether it goes on."""
        frozen = self._journal.trial(name)
        if step >= self._experiment.training.num_steps:
            self._journal.end(name, OptunaState.COMPLETE, frozen.intermediate_values[step])
            return False
        if not self._pruner.is_rung(step) or self._journal.notes(name).get(PROMOTED, 0) >= step:
            return True
        if self._pruner.prune(self._journal.study_of(name), frozen):
            self._journal.end(name, OptunaState.PRUNED)
            return False
        self._journal.note(name, PROMOTED, step)  # a repeated report must not be judged again, among more trials
        return True
