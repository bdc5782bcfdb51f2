"""The experiment as it ran: the file that repeats it anywhere, and the digest that tells two of them apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from raytag.config.document import dump_yaml
from raytag.config.experiment import Experiment
from raytag.config.space import SearchSpace

__all__ = ["dump_experiment", "dump_space", "results_digest"]

# What may change while a study goes on: where it runs and is written, what only later commands read, and how many
# trials and widths it has.
_FREE: Mapping[str, bool | set[str]] = {
    "name": True,
    "data": {"cache", "test", "num_test_jets"},
    "mup": {"skip_check"},
    "search": {"space", "widths", "trials_per_width"},
    "resources": True,
    "mlflow": True,
    "output": True,
}


def dump_experiment(experiment: Experiment) -> str:
    """Write an experiment with all its defaults, so that ``load_experiment`` reads back an equal one from any folder.

    Paths must be absolute, as ``load_experiment`` makes them.
    """
    return dump_yaml(experiment.model_dump(mode="json"))


def dump_space(space: SearchSpace) -> str:
    """Write a search space, so that ``load_space`` reads back an equal one."""
    return dump_yaml(space.model_dump(mode="json"))


def results_digest(experiment: Experiment, space: SearchSpace) -> str:
    """Return 16 hex digits that change whenever a trial of the study could come out differently.

    All of ``data``, ``model``, ``mup``, ``training``, ``hyperparameters``, ``search`` and the search space count, in
    their order, since a sampler draws in the order of the space. Left out are ``name``, ``resources``, ``mlflow``,
    ``output``, ``data.cache``, ``mup.skip_check``, the test jets, the place of the search space's file, and
    ``search.widths`` and ``search.trials_per_width``: more of either continues the same study. Data files count by
    their paths.
    """
    counted = {"experiment": experiment.model_dump(mode="json", exclude=_FREE), "space": space.model_dump(mode="json")}
    return hashlib.sha256(json.dumps(counted).encode()).hexdigest()[:16]
