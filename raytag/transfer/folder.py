"""A wide run's folder, inside its study's: what lies where. Workers and driver meet in these files."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from raytag.config.document import load_yaml
from raytag.config.experiment import Experiment
from raytag.config.resolved import Change, Effect, changes, dump_experiment, effect_of
from raytag.errors import StudyError
from raytag.files import write_atomically
from raytag.records import TRAIN_FLOPS, Cost
from raytag.transfer.plan import TransferPlan

__all__ = ["TRANSFER", "WORKER_SECONDS", "WideFolder", "WideProgress", "read_json"]

TRANSFER = "transfer"  # the folder of a study's wide runs
WORKER_SECONDS = "worker_seconds"  # in a wide run's history: those of all workers; "seconds" are those of the first


@dataclass(frozen=True)
class WideProgress:
    """How far a wide run is.

    ``history`` maps steps to validation metrics, ``failure`` says why the run cannot go on, and ``worker`` is the
    process that wrote this: another one when the workers were started again, at ``first_step``.
    """

    step: int = 0
    loss: float | None = None
    history: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    failure: str | None = None
    worker: str | None = None
    first_step: int = 0

    @property
    def cost(self) -> Cost:
        """What the training took up to its last validation; what lost workers did again is not in it."""
        last = self.history[max(self.history)] if self.history else {}
        return Cost(last.get(TRAIN_FLOPS, 0.0), last.get(WORKER_SECONDS, 0.0))


@dataclass(frozen=True)
class WideFolder:
    """The files of one wide run."""

    path: Path

    @property
    def study(self) -> Path:
        """The folder of the study that the run lies in, runs/<study>/transfer/<name>, maybe below <name>."""
        parents = self.path.absolute().parents
        return next((place.parent for place in parents if place.name == TRANSFER), parents[1])

    @property
    def experiment(self) -> Path:
        """The wide experiment, ready for ``raytag validate`` and ``raytag check``."""
        return self.path / "experiment.yaml"

    @property
    def plan(self) -> Path:
        """Each hyperparameter with its transfer class and reason."""
        return self.path / "plan.json"

    @property
    def provenance(self) -> list[Path]:
        """Git hash, versions and command line of every command that trained here, in their order."""
        return [self._provenance(number) for number in range(1, self._num_commands() + 1)]

    @property
    def gates(self) -> Path:
        """The verdict of the muP gates on the wide experiment."""
        return self.path / "gates.json"

    @property
    def progress(self) -> Path:
        """How far the training is."""
        return self.path / "progress.json"

    @property
    def checkpoint(self) -> Path:
        """The wide model with its optimizer state."""
        return self.path / "checkpoint.pt"

    @property
    def start(self) -> Path:
        """What a warm-started model begins with: a checkpoint of step 0."""
        return self.path / "start.pt"

    @property
    def continued(self) -> WideFolder:
        """The narrow model that is trained on beside a warm-started one."""
        return WideFolder(self.path / "continued")

    @property
    def result(self) -> Path:
        """The wide model beside the narrow one; its presence says that the transfer is finished."""
        return self.path / "result.json"

    @property
    def identity(self) -> Path:
        """What tells this run from one of its name that was moved aside; made with the folder."""
        return self.path / "identity"

    @property
    def ray(self) -> Path:
        """Ray Train's own files, of no use after a run."""
        return self.path / "ray"

    @property
    def lock(self) -> Path:
        """Held by the process that runs the transfer; it lies beside the folder, which may be moved aside."""
        return self.path.with_name(f".{self.path.name}.lock")

    def prepare(self, plan: TransferPlan) -> None:
        """Create the folder and write its settings, or check that it was made with these.

        Raises
        ------
        StudyError
            The folder holds a wide run with other settings.
        """
        if self.experiment.exists():
            self._check_settings(plan.experiment)
        self.path.mkdir(parents=True, exist_ok=True)
        self.tidy()
        if not self.identity.exists():
            write_atomically(self.identity, secrets.token_hex(6))
        write_atomically(self.plan, json.dumps(plan.to_dict(), indent=2))
        write_atomically(self.experiment, dump_experiment(plan.experiment))

    def differing(self, given: Experiment) -> list[Change]:
        """Return the settings in which the run and another experiment differ, but for those of the search."""
        stored = Experiment.model_validate(load_yaml(self.experiment).data)
        # The search is over: the plan has made its best trial the experiment's hyperparameters.
        return [change for change in changes(stored, given) if not change.key.startswith("search.")]

    def is_trained(self, experiment: Experiment) -> bool:
        """Whether the folder holds a model that was trained to its end as an experiment says."""
        if not self.checkpoint.exists():
            return False
        is_alike = not any(effect_of(change.key) is Effect.RESULTS for change in self.differing(experiment))
        return is_alike and experiment.training.num_steps in self.read_progress().history

    def tidy(self) -> None:
        """Remove what Ray Train and killed workers leave behind."""
        shutil.rmtree(self.ray, ignore_errors=True)
        for unfinished in self.path.glob("*.partial"):
            unfinished.unlink()

    def move_aside(self) -> Path | None:
        """Rename the folder so that its name is free, and return the new place; None if there was no folder."""
        if not self.path.exists():
            return None
        return self.path.rename(self.path.with_name(f"{self.path.name}.{datetime.now():%Y%m%d-%H%M%S}"))

    def add_provenance(self, text: str) -> None:
        """Keep the provenance of a command that is about to train."""
        write_atomically(self._provenance(self._num_commands() + 1), text)

    def write_progress(self, progress: WideProgress) -> None:
        """Say how far the run is; called by its first worker only."""
        write_atomically(self.progress, json.dumps(asdict(progress)))

    def read_progress(self) -> WideProgress:
        """Return how far the run is; step 0 before it began."""
        if not self.progress.exists():
            return WideProgress()
        written = read_json(self.progress)
        history = {int(step): metrics for step, metrics in written.pop("history").items()}
        return WideProgress(history=history, **written)

    def _num_commands(self) -> int:
        return len(list(self.path.glob("provenance-*.json")))

    def _provenance(self, number: int) -> Path:
        return self.path / f"provenance-{number}.json"

    def _check_settings(self, given: Experiment) -> None:
        differing = self.differing(given)
        if any(effect_of(change.key) is Effect.TEST for change in differing):
            self.result.unlink(missing_ok=True)  # the model stays, its test jets changed
        refused = [change for change in differing if effect_of(change.key) is Effect.RESULTS]
        if refused:
            raise StudyError(
                "\n".join(
                    [
                        f"{self.path}: holds a wide run with other settings:",
                        *(f"  {change.key}: that run has {change.old}, now {change.new}" for change in refused),
                        "Give the old settings, or move that run aside with --restart.",
                    ]
                )
            )


def read_json(path: Path) -> dict[str, Any]:
    """Read what a run wrote."""
    content: dict[str, Any] = json.loads(path.read_text())
    return content
