"""How a wide run looks while it trains: a bar on a terminal, a line per validation elsewhere."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from raytag.records import OBJECTIVE
from raytag.transfer.folder import WideFolder
from raytag.transfer.plan import TransferPlan

__all__ = ["TrainingProgress"]


class TrainingProgress:
    """Shows what the run's progress file says; use it as a context manager.

    Parameters
    ----------
    console
        Where to show it; without a terminal behind it, plain lines are printed.
    plan, folder
        The run.
    """

    def __init__(self, console: Console, plan: TransferPlan, folder: WideFolder) -> None:
        self._console, self._folder, self._width = console, folder, plan.width
        self._num_steps = plan.experiment.training.num_steps
        before = folder.read_progress()
        self._shown = set(before.history)
        self._worker_before, self._worker = before.worker, before.worker
        self._bar = Progress(
            TextColumn(f"Training width {plan.width}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("steps"),
            TextColumn("{task.fields[loss]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("train", total=self._num_steps, completed=before.step, loss="")

    def __enter__(self) -> TrainingProgress:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:  # a bar that never began would still end its line
            self._bar.stop()

    def update(self) -> None:
        """Show what changed since the last call."""
        progress = self._folder.read_progress()
        if progress.worker != self._worker:
            self._tell_start(progress.first_step)
            self._worker = progress.worker
        loss = "" if progress.loss is None else f"loss {progress.loss:.4f}"
        self._bar.update(self._task, completed=progress.step, loss=loss)
        for step in sorted(set(progress.history) - self._shown):
            self._shown.add(step)
            if not self._console.is_terminal:
                objective = progress.history[step][OBJECTIVE]
                self._say(f"width {self._width}: step {step}/{self._num_steps}, objective {objective:.4f}")

    def _tell_start(self, first_step: int) -> None:
        """Say that the training goes on, and whether a worker was lost or this command was given again."""
        if self._worker != self._worker_before:
            self._say(f"A worker was lost; the training goes on from step {first_step}.")
        elif first_step:
            self._say(f"The training goes on from step {first_step}.")

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)
