"""The model that is wanted: its width, and what else about it differs from the study's models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from raytag.config.checks import check_experiment
from raytag.config.experiment import Experiment, SearchConfig
from raytag.errors import StudyError
from raytag.mup.scaling_rules import Horizon, ScalingRule

__all__ = ["RULES", "Rule", "Target", "horizon_of"]

Rule = Literal["depth"] | ScalingRule
RULES: tuple[Rule, ...] = ("depth", *get_args(ScalingRule))


@dataclass(frozen=True)
class Target:
    """What to train; what is None is as in the study. Rules in ``without_rules`` are not applied."""

    width: int
    num_layers: int | None = None
    batch_size: int | None = None
    num_steps: int | None = None
    without_rules: frozenset[Rule] = frozenset()

    def shape(self, study: Experiment) -> str:
        """Return what tells this model from one of its width as the study has it: "-l8-b512-s4000", or nothing."""
        wanted = (
            ("l", self.num_layers, study.model.num_layers),
            ("b", self.batch_size, study.training.batch_size),
            ("s", self.num_steps, study.training.num_steps),
        )
        return "".join(f"-{letter}{value}" for letter, value, own in wanted if value not in (None, own))

    def experiment(self, study: Experiment) -> Experiment:
        """Return the study's experiment with this model and training, its hyperparameters as they were.

        It searches nothing any more: there is one trial, with the experiment's own values.
        The rule for depth is a property of the model: of a study without one, the model's own depth becomes the base.
        """
        given = {"num_steps": self.num_steps, "batch_size": self.batch_size}
        training = {key: value for key, value in given.items() if value is not None}
        model = {} if self.num_layers is None else {"num_layers": self.num_layers}
        base = study.mup.base_num_layers
        if self._applies_depth(study):
            base = base or study.model.num_layers
        search = SearchConfig(sampler="fixed", seed=study.search.seed)
        return study.model_copy(
            update={
                "name": f"{study.name}-w{self.width}{self.shape(study)}",
                "model": study.model.model_copy(update=model),
                "mup": study.mup.model_copy(update={"base_num_layers": base}),
                "training": study.training.model_copy(update=training),
                "search": search.model_copy(update={"widths": (self.width,)}),
            }
        )

    def check(self, study: Experiment, num_workers: int) -> None:
        """Hold it against the study's experiment.

        Raises
        ------
        StudyError
            An option does not fit; the text begins with its name.
        """
        for option, value in self._options(num_workers):
            if value is not None and value < 1:
                raise StudyError(f"{option} {value}: expected a number above 0.")
        self._check_steps(study)
        self._check_rules(study)
        experiment = self.experiment(study)
        sections = {"model": experiment.model, "mup": experiment.mup, "search": experiment.search}
        for key, message in check_experiment(sections):
            if key[:2] == ("search", "widths"):
                raise StudyError(f"--width {self.width}: {message}")
        if num_workers > (batch_size := experiment.training.batch_size):
            raise StudyError(
                f"--workers {num_workers}: a batch has {batch_size} jets, and each worker needs at least one."
            )

    def _options(self, num_workers: int) -> Iterator[tuple[str, int | None]]:
        yield "--width", self.width
        yield "--layers", self.num_layers
        yield "--batch-size", self.batch_size
        yield "--steps", self.num_steps
        yield "--workers", num_workers

    def _check_steps(self, study: Experiment) -> None:
        every = study.training.evaluate_every
        if self.num_steps is not None and self.num_steps < every:
            raise StudyError(f"--steps {self.num_steps}: fewer than training.evaluate_every ({every}) of the study.")

    def _check_rules(self, study: Experiment) -> None:
        """Refuse to switch off what would not act, or what the study itself was tuned with."""
        old, new = horizon_of(study), horizon_of(self.experiment(study))
        acts: dict[Rule, bool] = {
            "depth": self.num_layers not in (None, study.model.num_layers),
            "batch": old.batch_size != new.batch_size,
            "steps": old.num_samples != new.num_samples,
        }
        needed: dict[Rule, str] = {
            "depth": "another --layers",
            "batch": "another --batch-size",
            "steps": "another number of jets in all (--steps times --batch-size)",
        }
        for rule in RULES:
            if rule in self.without_rules and not acts[rule]:
                raise StudyError(f"--without-rule {rule}: no effect without {needed[rule]} than the study's.")
        if "depth" in self.without_rules and study.mup.depth_base is not None:
            raise StudyError(
                f"--without-rule depth: the study's own models have it (mup.base_num_layers "
                f"{study.mup.depth_base}); without it the model would be another one than was tuned."
            )

    def _applies_depth(self, study: Experiment) -> bool:
        is_other = self.num_layers not in (None, study.model.num_layers)
        return is_other and "depth" not in self.without_rules and study.mup.parametrisation == "mup"


def horizon_of(experiment: Experiment) -> Horizon:
    """Return how long an experiment trains."""
    return Horizon(experiment.training.batch_size, experiment.training.num_steps)
