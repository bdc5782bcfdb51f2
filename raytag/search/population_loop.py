"""A population in the slots of one group: after each generation poor trials go on from copies of good ones.

All trials wait at the end of a generation. The moves are asked for, carried out as copies of rows, and saved; only then
does anyone step again. So wherever a worker is killed, the checkpoints hold either all that a move copies from, or its
result, and the next worker carries out what is left of the same moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from raytag.records import Move
from raytag.search.running import Member, RunningTrial
from raytag.search.training_loop import Owner, TrainingLoop

__all__ = ["PopulationLoop", "PopulationOwner"]

# In the history of the step at which a trial was replaced: the number of the trial it goes on from.
SOURCE = "population/source"


class PopulationOwner(Owner, Protocol):
    """What a worker that trains populations asks of :class:`raytag.search.population_owner.PopulationOwner`."""

    def evolve(self, worker: str, step: int) -> Mapping[str, Move]:
        """Return who goes on from whom after a generation."""


class PopulationLoop(TrainingLoop):
    """Trains the population that the worker has leased."""

    _owner: PopulationOwner
    _generation = 0  # the step up to which all moves are carried out

    def _validate(self) -> None:
        super()._validate()
        if self._trials and (step := min(map(self._step_of, self._trials))) > self._generation:
            if self._ends_generation(step):
                self._evolve(step)
            self._generation = step

    def _is_ready(self, trial: RunningTrial, member: Member) -> bool:
        step = self._step_of(trial)
        return super()._is_ready(trial, member) and not (step > self._generation and self._ends_generation(step))

    def _evolve(self, step: int) -> None:
        """Carry out the moves at a step that are not yet in the checkpoints."""
        trials = {trial.name: trial for trial in self._trials if self._step_of(trial) == step}
        for name, move in self._owner.evolve(self._worker, step).items():
            if name in trials and SOURCE not in trials[name].members[0].history[step]:
                self._replace(trials[name], trials.get(move.source), move, step)

    def _replace(self, trial: RunningTrial, source: RunningTrial | None, move: Move, step: int) -> None:
        """Let a trial go on from a copy of another one's row."""
        (member,) = trial.members
        if source is None:
            self._fail(trial, member, f"the checkpoint of {move.source}, from which it was to go on, is lost")
            return
        (source_slot,), (slot,) = source.slots, trial.slots
        self._group.copy(source_slot, slot, move.hyperparameters)
        member.trial = replace(member.trial, hyperparameters=move.hyperparameters)
        member.history[step][SOURCE] = float(move.source.rpartition("-")[2])
        member.save(self._group)

    def _step_of(self, trial: RunningTrial) -> int:
        (slot,) = trial.slots
        return self._group.own_step(slot)

    def _ends_generation(self, step: int) -> bool:
        every = self._search.perturb_every or self._training.evaluate_every
        return step % every == 0 and step < self._training.num_steps
