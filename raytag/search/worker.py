"""A worker: trains one width after another until the owner has no trial left.

Nothing here knows Ray: the owner is whatever answers the :class:`Owner` calls.
"""

from __future__ import annotations

from typing import Any

import torch

from raytag.config.experiment import Experiment
from raytag.search.folder import StudyFolder
from raytag.search.training_loop import Owner, TrainingLoop
from raytag.training.trial_group import TrialGroup
from raytag.training.workload import Workload

__all__ = ["Worker"]


class Worker:
    """One worker of a search.

    Parameters
    ----------
    name
        Under which the owner knows it; it has been registered.
    owner
        Hands out trials and hears what becomes of them.
    workload, experiment, folder, device
        What to train, how, and where the checkpoints lie.
    """

    def __init__(
        self,
        name: str,
        owner: Owner,
        workload: Workload[Any],
        experiment: Experiment,
        folder: StudyFolder,
        *,
        device: torch.device,
    ) -> None:
        self._name, self._owner, self._workload = name, owner, workload
        self._experiment, self._folder, self._device = experiment, folder, device

    def work(self) -> None:
        """Train until the owner has no trial left to begin."""
        while (width := self._owner.lease(self._name)) is not None:
            group = self._group(width)
            TrainingLoop(self._name, self._owner, group, self._experiment, self._folder).run()

    def _group(self, width: int) -> TrialGroup:
        experiment = self._experiment
        return TrialGroup(
            self._workload,
            width,
            experiment.resources.slots,
            mup=experiment.mup,
            training=experiment.training,
            device=self._device,
        )
