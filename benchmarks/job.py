"""The job that both sides of the benchmark do: the trials of an experiment, fixed before either side starts.

raytag draws its trials itself. Here they are drawn by the same study, and written down for the baseline together with
the first weights, the muP factors and the order of the minibatches, so that the final losses can be compared trial by
trial.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raytag.config.experiment import Experiment
from raytag.config.space import LogUniform, SearchSpace
from raytag.data.batches import BatchStream
from raytag.mup.multipliers import initialise
from raytag.search.folder import StudyFolder
from raytag.search.study import Study
from raytag.tagging.workload import TaggingWorkload
from raytag.training.precision import parameter_dtype
from raytag.training.trial import Trial

__all__ = ["Job"]


@dataclass(frozen=True)
class Job:
    """An experiment and its opened data, and the share of a GPU that a process of the baseline gets."""

    space: SearchSpace
    workload: TaggingWorkload
    gpus_per_trial: float = 0

    @classmethod
    def open(cls, experiment: Experiment, space: SearchSpace, gpus_per_trial: float = 0) -> Job:
        """Open the experiment's data."""
        assert experiment.search.sampler == "random", "other samplers learn from the losses"
        assert experiment.search.first_rung is None, "the baseline prunes nothing"
        return cls(space, TaggingWorkload.open(experiment, torch.device("cpu")), gpus_per_trial)

    @property
    def experiment(self) -> Experiment:
        """What the job is made of."""
        return self.workload.experiment

    def trials(self) -> list[Trial]:
        """Return the trials that a search of this experiment trains, the widest first, as raytag begins too."""
        search = self.experiment.search
        with TemporaryDirectory() as folder:
            study = Study.open(StudyFolder(Path(folder)), self.experiment, self.space)
            names = [study.ask(width) for width in reversed(search.widths) for _ in range(search.trials_per_width)]
            return [trial for name in names for trial in study.members(name)]

    def write(self, folder: Path) -> None:
        """Write what :mod:`benchmarks.plain` reads."""
        training, trials = self.experiment.training, self.trials()
        (folder / "weights").mkdir(parents=True)
        for trial in trials:
            torch.save(self._first_weights(trial), folder / "weights" / f"{trial.name}.pt")
        stream = BatchStream(self.workload.table("train"), training.batch_size, training.data_seed)
        np.save(folder / "order.npy", np.stack([stream.jets(step) for step in range(training.num_steps)]))
        (folder / "job.json").write_text(json.dumps(self._description(trials), indent=1))

    def _first_weights(self, trial: Trial) -> dict[str, Tensor]:
        """Return the weights from which a trial starts."""
        model = self.workload.build_model(trial.width).to(parameter_dtype(self.experiment.training))
        initialise(model, self.workload.rule_table(trial.width), trial.seed, trial.hyperparameters.init_scale)
        return {name: parameter.detach() for name, parameter in model.named_parameters()}

    def _description(self, trials: list[Trial]) -> dict[str, Any]:
        experiment = self.experiment
        return {
            "data": experiment.data.model_dump(mode="json"),
            "gpus_per_trial": self.gpus_per_trial,
            "model": {**experiment.model.model_dump(mode="json"), "base_width": experiment.mup.base_width},
            "training": experiment.training.model_dump(mode="json"),
            "space": {name: self._range(name) for name in self.space.root},
            "trials": {
                trial.name: {
                    "width": trial.width,
                    "hyperparameters": trial.hyperparameters.model_dump(mode="json"),
                    "searched": {name: getattr(trial.hyperparameters, name) for name in self.space.root},
                }
                for trial in trials
            },
            "factors": {
                width: {
                    rule.name: {"lr": rule.lr_factor, "wd": rule.wd_factor, "eps": rule.eps_factor}
                    for rule in self.workload.rule_table(width)
                }
                for width in experiment.search.widths
            },
        }

    def _range(self, name: str) -> tuple[float, float]:
        distribution = self.space.root[name]
        assert isinstance(distribution, LogUniform), f"{name}: the baseline knows log_uniform only"
        return distribution.low, distribution.high
