"""What a search leaves beside its trials: what it is made of, the picture, and the study in MLflow up to date."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import TYPE_CHECKING

from raytag import __version__, provenance
from raytag.config.experiment import Experiment
from raytag.config.resolved import results_digest
from raytag.config.space import SearchSpace
from raytag.importing import uncollected
from raytag.records import TrialRecord
from raytag.search.folder import StudyFolder
from raytag.search.study import Study
from raytag.search.verdict import gate_tags, stored_verdict
from raytag.search.watching import begin

if TYPE_CHECKING:
    from raytag.logbook import Status
    from raytag.search.mirror import StudyMirror

__all__ = ["StudyRecorder"]


class StudyRecorder:
    """Records one run of a search; it opens MLflow in a thread, which takes as long as Ray takes to start.

    Parameters
    ----------
    experiment, space, folder
        The study.
    say
        Called with a line when MLflow fails.
    """

    def __init__(
        self, experiment: Experiment, space: SearchSpace, folder: StudyFolder, say: Callable[[str], None]
    ) -> None:
        self._experiment, self._folder, self._say = experiment, folder, say
        self._digest = results_digest(experiment, space)
        self._tags: dict[str, str] = {}
        self._opening = begin(self._open)

    @property
    def mirror(self) -> StudyMirror:
        """The mirror, as soon as it is open; RaytagError if its URI can never work."""
        return self._opening.result()

    def _open(self) -> StudyMirror:
        with uncollected():
            from raytag.search.mirror import StudyMirror
        mlflow = self._experiment.mlflow
        mirror = StudyMirror(self._folder, mlflow.tracking_uri, mlflow.experiment, self._say)
        mirror.open()
        return mirror

    def start(self) -> None:
        """Keep what this run is made of, before it trains.

        Raises
        ------
        RaytagError
            The tracking URI can never work.
        """
        self._opening.result()
        begin(lambda: import_module("raytag.report.loss_versus_lr"))  # matplotlib, while the search goes on
        seeds = {"search": self._experiment.search.seed, "data": self._experiment.training.data_seed}
        origin = provenance.collect(seeds)
        self._folder.add_provenance(json.dumps(origin.to_dict(), indent=1))
        self._tags = {"raytag.digest": self._digest, "raytag.version": __version__}
        if origin.code:
            self._tags["mlflow.source.git.commit"] = origin.code.commit + ("-dirty" if origin.code.is_dirty else "")

    def sync(self, records: Iterable[TrialRecord]) -> None:
        """Bring MLflow up to date, as far as it answers."""
        self.mirror.sync(records, self._tags | gate_tags(stored_verdict(self._folder)))

    def interrupt(self) -> None:
        """End the study's run in MLflow at once."""
        self.mirror.close("KILLED")

    def conclude(self, status: Status, study: Study | None) -> None:
        """Draw the picture and end the study's run in MLflow, with all that has not been written yet.

        ``study`` is None if it has not begun.
        """
        files = [self._folder.experiment, self._folder.space, *self._folder.provenance, self._folder.gates]
        records = study.records() if study else []
        if any(record.history for record in records):
            from raytag.report.loss_versus_lr import draw_loss_versus_lr

            title = f"{self._experiment.name}: objective versus learning rate"
            draw_loss_versus_lr(records, self._folder.picture, title)
            files.append(self._folder.picture)
        choices = study.groups.choices() if study else []
        if not self.mirror.close(status, files, records, gate_tags(stored_verdict(self._folder)), choices):
            self._say("MLflow lacks the last results; the same command writes them when it answers again.")
