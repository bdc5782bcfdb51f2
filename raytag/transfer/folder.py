"""A wide run's folder, inside its study's: what lies where. Workers and driver meet in these files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raytag.config.resolved import dump_experiment
from raytag.errors import StudyError
from raytag.transfer.plan import TransferPlan

__all__ = ["WideFolder", "WideProgress"]


@dataclass(frozen=True)
class WideProgress:
    """How far a wide run is. ``history`` maps steps to validation metrics; ``failure`` says why it cannot go on."""

    step: int = 0
    loss: float | None = None
    history: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    failure: str | None = None


@dataclass(frozen=True)
class WideFolder:
    """The files of one wide run."""

    path: Path

    @property
    def experiment(self) -> Path:
        """The wide experiment, ready for ``raytag validate`` and ``raytag check``."""
        return self.path / "experiment.yaml"

    @property
    def plan(self) -> Path:
        """Each hyperparameter with its transfer class and reason."""
        return self.path / "plan.json"

    @property
    def gates(self) -> Path:
        """The verdict of the muP gates at the target width."""
        return self.path / "gates.json"

    @property
    def checkpoint(self) -> Path:
        """The wide model with its optimizer state."""
        return self.path / "checkpoint.pt"

    @property
    def result(self) -> Path:
        """Test metrics of the wide and the narrow model."""
        return self.path / "result.json"

    @property
    def lock(self) -> Path:
        """Held by the process that runs the transfer."""
        return self.path / "lock"

    def prepare(self, plan: TransferPlan) -> None:
        """Create the folder and write its settings, or check that it was made with these.

        Raises
        ------
        StudyError
            The folder holds a wide run with other settings.
        """
        text = dump_experiment(plan.experiment)
        if self.experiment.exists() and self.experiment.read_text() != text:
            raise StudyError(
                f"{self.path}: holds a wide run with other settings. Move that folder away, or choose another --trial."
            )
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.plan, json.dumps(plan.to_dict(), indent=2))
        write_atomically(self.experiment, text)

    def write_progress(self, progress: WideProgress) -> None:
        """Say how far the run is; called by its first worker only."""
        history = {str(step): dict(metrics) for step, metrics in progress.history.items()}
        write_atomically(
            self.path / "progress.json",
            json.dumps({"step": progress.step, "loss": progress.loss, "history": history, "failure": progress.failure}),
        )

    def read_progress(self) -> WideProgress:
        """Return how far the run is; step 0 before it began."""
        path = self.path / "progress.json"
        if not path.exists():
            return WideProgress()
        written = json.loads(path.read_text())
        history = {int(step): metrics for step, metrics in written["history"].items()}
        return WideProgress(written["step"], written["loss"], history, written["failure"])


def write_atomically(path: Path, text: str) -> None:
    """Replace a file's content so that a reader sees the old or the new text, never a part."""
    partial = path.with_suffix(f"{path.suffix}.partial")
    partial.write_text(text)
    partial.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """Read what a run wrote."""
    content: dict[str, Any] = json.loads(path.read_text())
    return content
