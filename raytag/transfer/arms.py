"""The trainings of a transfer, and the models that are compared in the end."""

from __future__ import annotations

from dataclasses import dataclass

from raytag.report.warm_start import CONTINUED, NARROW, SCRATCH, WARM
from raytag.search.folder import StudyFolder
from raytag.transfer.folder import WideFolder
from raytag.transfer.measure import SavedModel
from raytag.transfer.plan import TransferPlan
from raytag.transfer.warm_start import WarmStart, check_start

__all__ = ["WIDE", "Arms"]

WIDE = "wide"  # a wide model from first values, which is compared with the narrow one alone


@dataclass(frozen=True)
class Arms:
    """The training of a wide model and, for a warm start, that of the narrow model continued.

    Attributes
    ----------
    plan
        The wide model's.
    study
        Where the narrow model comes from.
    folder
        The wide run's.
    warm
        What the wide model begins with, where ``plan`` is its ``wide``.
    """

    plan: TransferPlan
    study: StudyFolder
    folder: WideFolder
    warm: WarmStart | None = None

    @property
    def trainings(self) -> list[tuple[TransferPlan, WideFolder]]:
        """The trainings in their order, the wide model's last."""
        continued = [(self.warm.continued, self.folder.continued)] if self.warm else []
        return [*continued, (self.plan, self.folder)]

    @property
    def models(self) -> dict[str, SavedModel]:
        """The models to compare, by what they are called; that from scratch only if it has been trained."""
        wide = SavedModel(self.plan.experiment, self.folder.checkpoint)
        if not self.warm:
            return {NARROW: SavedModel(self.plan.study, self.study.checkpoint(self.plan.narrow)), WIDE: wide}
        narrow, continued = self.warm.continued.experiment, self.folder.continued
        scratch = WideFolder(self.folder.path.with_name(self.warm.scratch.trial.name))
        is_there = scratch.is_trained(self.warm.scratch.experiment)
        return {
            NARROW: SavedModel(narrow, continued.start),
            CONTINUED: SavedModel(narrow, continued.checkpoint),
            **({SCRATCH: SavedModel(self.warm.scratch.experiment, scratch.checkpoint)} if is_there else {}),
            WARM: wide,
        }

    def prepare(self) -> None:
        """Create the folders and write their settings, or check that they were made with these.

        Raises
        ------
        StudyError
            A folder holds a run with other settings, or one that began with other weights.
        """
        for plan, folder in self.trainings:
            folder.prepare(plan)
        if self.warm:
            check_start(self.warm, self.folder)
