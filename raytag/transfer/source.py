"""What a user may name in a study: all of it, one of its trials, or one of its wide runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from raytag.search.folder import StudyFolder
from raytag.transfer.folder import WideFolder, read_json

__all__ = ["Source", "source_in"]


@dataclass(frozen=True)
class Source:
    """A study, and the trial or the wide run of it that was named; ``trial`` of a wide run is the one it came from."""

    study: StudyFolder
    trial: str | None = None
    wide: WideFolder | None = None


def source_in(path: Path) -> Source:
    """Return what lies in a folder: a wide run, or else a study."""
    wide = WideFolder(path)
    if wide.plan.exists():
        return Source(StudyFolder(wide.study), read_json(wide.plan)["source_trial"], wide)
    return Source(StudyFolder(path))
