"""The verdict of the muP gates as a run's folder keeps it, so that they run once for the same settings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from raytag.config.experiment import Experiment
from raytag.config.resolved import gates_digest
from raytag.files import write_json
from raytag.search.folder import StudyFolder, studies_in

__all__ = ["GatedFolder", "gate_tags", "has_passed", "keep_verdict", "stored_verdict", "studies_of_its_file"]

WORDS = {True: "passed", False: "failed", None: "skipped"}


class GatedFolder(Protocol):
    """A folder of something that the gates come before: a study, or a wide run."""

    @property
    def path(self) -> Path:
        """The folder itself."""

    @property
    def gates(self) -> Path:
        """Its file of the gates' verdict."""


def stored_verdict(folder: GatedFolder) -> dict[str, Any]:
    """Return the report of the gates that the folder keeps; empty if they never ran."""
    stored: dict[str, Any] = json.loads(folder.gates.read_text()) if folder.gates.exists() else {}
    return stored


def keep_verdict(folder: GatedFolder, experiment: Experiment, gates: Mapping[str, Any]) -> None:
    """Keep a report of the gates, with what it holds for."""
    write_json(folder.gates, {**gates, "digest": gates_digest(experiment)})


def has_passed(folder: GatedFolder, experiment: Experiment) -> bool:
    """Tell whether the folder keeps that the gates passed with these settings."""
    gates = stored_verdict(folder)
    return bool(gates.get("passed")) and gates.get("digest") == gates_digest(experiment)


def studies_of_its_file(folder: StudyFolder, experiment: Experiment) -> Iterable[StudyFolder]:
    """Return the studies beside a study of a ``vary``; beside any other lie those of other files.

    They often differ only in what the gates do not see, such as the number of steps.
    """
    is_variant = experiment.output is not None and experiment.name.startswith(f"{experiment.output.name}-")
    return studies_in(folder.path.parent).values() if is_variant else ()


def gate_tags(gates: Mapping[str, Any]) -> dict[str, str]:
    """Return a report of the gates as a tag for MLflow; none if they never ran."""
    return {"mup.gates": WORDS[gates["passed"]]} if gates else {}
