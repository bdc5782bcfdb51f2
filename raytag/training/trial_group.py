"""A group of R trials of one structure, trained side by side in one process.

The group owns the flat storage and the slots. A slot's trial lives on its own step counter, from its own seed, with
its own optimizer row: what becomes of it depends on the trial alone, not on its slot, its neighbours or R. Which trial
starts where, and when one is stopped, is decided outside.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from raytag.config.experiment import TrainingConfig
from raytag.config.hyperparameters import Hyperparameters
from raytag.data.schema import Split
from raytag.mup.multipliers import initialise
from raytag.training.algorithms import MOMENTS
from raytag.training.executors import Executor, Loop, RowLosses
from raytag.training.layout import Layout
from raytag.training.optimizer import clip_gradients, gradient_norm, update
from raytag.training.precision import parameter_dtype
from raytag.training.schedule import pace_of_step
from raytag.training.storage import Storage
from raytag.training.trial import RowState, Trial
from raytag.training.workload import TrialModel, Workload

__all__ = ["StepResult", "TrialGroup", "compaction_target"]


@dataclass(frozen=True)
class StepResult:
    """What one optimizer step did to one trial.

    ``step`` counts the steps taken, this one included; ``losses`` are the task losses before weighting, of the batch
    and the parameters before the update. ``failure`` says why the trial cannot go on; its parameters are then those of
    the last good step.
    """

    step: int
    loss: float
    losses: Mapping[str, float]
    gradient_norm: float
    is_finished: bool
    failure: str | None = None


@dataclass
class _Occupant:
    """A trial in a slot; ``training`` is the experiment's section with the trial's own number of steps."""

    trial: Trial
    training: TrainingConfig
    step: int
    failure: str | None = None


class TrialGroup:
    """R slots that train trials of one width.

    Parameters
    ----------
    workload
        The task, opened for the experiment that says how to train, on the device where storage and models live.
    width, slots
        Structure of every model, and R.
    executor
        Runs the rows forward and backward; it serves this group alone. Default: one after the other.
    dropout_stream
        Keeps the dropout masks of processes apart that train one model together: each takes a number of its own.
    """

    def __init__(
        self,
        workload: Workload[Any],
        width: int,
        slots: int,
        *,
        executor: Executor | None = None,
        dropout_stream: int = 0,
    ) -> None:
        self.workload = workload
        self.width = width
        self.training = workload.experiment.training
        self.table = workload.rule_table(width)
        self._dtype = parameter_dtype(self.training)
        self.layout = Layout.of(self.table, self._dtype)
        self.executor = executor or Loop(self.training.autocast)
        self._dropout_stream = dropout_stream
        self._occupants: dict[int, _Occupant] = {}
        self._updating: set[int] = set()
        self._storage = self._allocate(slots)
        models = (workload.build_model(width).to(workload.device, self._dtype) for _ in range(slots))
        self._models = [self._storage.adopt(slot, model) for slot, model in enumerate(models)]

    @property
    def trials(self) -> dict[int, Trial]:
        """The trial of each occupied slot."""
        return {slot: occupant.trial for slot, occupant in sorted(self._occupants.items())}

    @property
    def free_slots(self) -> list[int]:
        """The slots in which a trial can start."""
        return [slot for slot in range(len(self._models)) if slot not in self._occupants]

    def own_step(self, slot: int) -> int:
        """Return the number of steps that a slot's trial has taken."""
        return self._occupants[slot].step

    def model(self, slot: int) -> TrialModel:
        """Return a slot's model; its parameters are views of the group's storage."""
        return self._models[slot]

    def failure(self, slot: int) -> str | None:
        """Return why a slot's trial cannot go on, or None."""
        return self._occupants[slot].failure

    def is_running(self, slot: int) -> bool:
        """Whether the next :meth:`step` trains this slot: it is occupied, has steps left and has not failed."""
        occupant = self._occupants.get(slot)
        return occupant is not None and occupant.failure is None and occupant.step < occupant.training.num_steps

    def is_whole(self, slot: int) -> bool:
        """Whether a slot holds the state after its own step: not if an update broke off, for lack of memory."""
        return slot not in self._updating

    def start(self, slot: int, trial: Trial, state: RowState | None = None) -> None:
        """Put a trial into a free slot, at its own step 0 or where ``state`` left it."""
        assert slot in self.free_slots, f"slot {slot} is not free"
        assert trial.width == self.width, f"{trial.name} has width {trial.width}, this group {self.width}"
        self._storage.rows[slot].clear()
        self._set_up(slot, trial)
        if state is None:
            initialise(self._models[slot], self.table, trial.seed, trial.hyperparameters.init_scale)
        else:
            self._storage.load(slot, state)
        self._occupants[slot] = _Occupant(trial, self._training_of(trial), 0 if state is None else state.step)

    def step(self, slots: Collection[int] | None = None) -> dict[int, StepResult]:
        """Let running trials, those of ``slots`` or all, take their next step; return what happened, by slot."""
        slots = [slot for slot in sorted(self._occupants if slots is None else slots) if self.is_running(slot)]
        if not slots:
            return {}
        losses = self._run(slots)
        norms = torch.stack([gradient_norm(self._storage.rows[slot], self.layout) for slot in slots])
        # One transfer, hence one wait for the device, per step of the whole group.
        figures = torch.cat([losses.totals[:, None], norms[:, None], losses.tasks], dim=1).tolist()
        self._updating = set(slots)
        results = {slot: self._conclude(slot, *numbers) for slot, numbers in zip(slots, figures, strict=True)}
        self._updating = set()
        return results

    def evaluate(self, slot: int, split: Split = "val") -> dict[str, float]:
        """Return the metrics of a slot's trial on a split, "val" being its fold's (see :meth:`Workload.evaluate`)."""
        fold = self._occupants[slot].trial.fold if split == "val" else None
        model = self._models[slot].eval()
        try:
            with torch.no_grad():
                return dict(self.workload.evaluate(model, split, fold))
        finally:
            model.train()  # the slot's next trial begins with this model, whatever became of this one

    def state(self, slot: int) -> RowState:
        """Copy what is needed to go on with a slot's trial, here or elsewhere."""
        occupant = self._occupants[slot]
        return self._storage.save(slot, occupant.trial, occupant.step)

    def free(self, slot: int) -> None:
        """Take a slot's trial out."""
        del self._occupants[slot]

    def copy(self, source: int, target: int, hyperparameters: Hyperparameters) -> None:
        """Let ``target``'s trial go on from ``source``'s parameters, moments and step, with its own hyperparameters."""
        self._storage.rows[target].copy_from(self._storage.rows[source])
        trial = replace(self._occupants[target].trial, hyperparameters=hyperparameters)
        self._set_up(target, trial)
        self._occupants[target] = replace(self._occupants[source], trial=trial, training=self._training_of(trial))

    def compact(self, num_slots: int) -> dict[int, int]:
        """Shrink to ``num_slots`` slots, which must hold all trials; return each one's new slot by its old one."""
        assert len(self._occupants) <= num_slots <= len(self._models), f"{len(self._occupants)} trials"
        storage = self._allocate(num_slots)
        moved = {old: new for new, old in enumerate(sorted(self._occupants))}
        for old, new in moved.items():
            storage.rows[new].copy_from(self._storage.rows[old])
        self._storage = storage
        self._occupants = {moved[slot]: occupant for slot, occupant in self._occupants.items()}
        self._models = [self._storage.adopt(slot, model) for slot, model in enumerate(self._models[:num_slots])]
        for slot, occupant in self._occupants.items():
            self._set_up(slot, occupant.trial)
        return moved

    def _allocate(self, num_slots: int) -> Storage:
        moments = MOMENTS[self.training.optimizer]
        return Storage(num_slots, self.layout, moments, dtype=self._dtype, device=self.workload.device)

    def _training_of(self, trial: Trial) -> TrainingConfig:
        if trial.num_steps is None:
            return self.training
        return self.training.model_copy(update={"num_steps": trial.num_steps})

    def _set_up(self, slot: int, trial: Trial) -> None:
        """Write a trial's settings into a slot's model."""
        self._models[slot].set_hyperparameters(trial.hyperparameters)
        self._models[slot].hold_out(trial.fold)

    def _run(self, slots: list[int]) -> RowLosses:
        """Compute losses and gradients of these slots' next steps."""
        for slot in slots:
            occupant = self._occupants[slot]
            self._storage.rows[slot].gradients.zero_()
            if self._models[slot].dropout.is_active:
                self._models[slot].dropout.set_key(self._dropout_key(occupant))
        models = [self._models[slot] for slot in slots]
        return self.executor(self.workload, models, [self.workload.train_batch(self.own_step(s)) for s in slots])

    def _dropout_key(self, occupant: _Occupant) -> int:
        """Mix a trial's seed, its own step and the stream into the key of that step's dropout masks."""
        entropy = (occupant.trial.seed, occupant.step, self._dropout_stream)
        return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)

    def _conclude(self, slot: int, loss: float, norm: float, *task_losses: float) -> StepResult:
        """Update a slot's parameters, or stop its trial if the loss or a gradient is not a number."""
        occupant, row = self._occupants[slot], self._storage.rows[slot]
        losses = dict(zip(self.workload.task_names, task_losses, strict=True))
        hyperparameters = occupant.trial.hyperparameters
        if math.isfinite(loss) and math.isfinite(norm):
            clip_gradients(row, norm, hyperparameters.clip_norm)
            pace = pace_of_step(occupant.training, occupant.step, hyperparameters)
            update(row, self.layout, pace, hyperparameters)
            occupant.step += 1
        else:
            occupant.failure = _failure(occupant, loss, norm, losses)
        return StepResult(
            step=occupant.step,
            loss=loss,
            losses=losses,
            gradient_norm=norm,
            is_finished=occupant.step == occupant.training.num_steps,
            failure=occupant.failure,
        )


def compaction_target(num_trials: int, num_slots: int) -> int:
    """Return to how many slots a group should shrink: it is halved as often as its trials fit (32 → 16 → … → 1).

    Few sizes, so that few are compiled; and a copy of the rows is repaid by the steps without empty ones.
    """
    while num_slots // 2 >= max(num_trials, 1):
        num_slots //= 2
    return num_slots


def _failure(occupant: _Occupant, loss: float, norm: float, losses: Mapping[str, float]) -> str:
    """Say what stopped being a number, and what usually helps."""
    culprits = [f"{task} loss" for task, value in losses.items() if not math.isfinite(value)]
    if not culprits:
        culprits = ["loss" if not math.isfinite(loss) else "gradient norm"]
    lr = occupant.trial.hyperparameters.lr
    return (
        f"{', '.join(culprits)} not finite at step {occupant.step} (loss {loss:.4g}, gradient norm {norm:.4g}). "
        f"Lower lr (now {lr:.3g}) or set clip_norm."
    )
