"""The folder of a production: what is finished, who is at work in it, and the step from parts to final files."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py

from raytag.data.simulate.packed import PackedJets
from raytag.data.simulate.settings import Settings
from raytag.data.simulate.writer import SETTINGS_ATTRIBUTE, file_names
from raytag.errors import RaytagError

__all__ = ["Workspace"]

# The options that the user knows the settings by.
OPTIONS = {"process": "--process", "num_jets": "--jets", "seed": "--seed", "is_full": "--full"}

# Parts of one production must come from one set of generators.
PACKAGES = ("raytag", "pythia8mc", "fastjet", "numpy")


class Workspace:
    """The data folder ``OUT`` with its working folder ``OUT/.parts``, for one set of settings."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self.settings = settings
        self.parts = folder / ".parts"

    def chunk_path(self, chunk: int) -> Path:
        """Return the part file of a chunk."""
        return self.parts / f"chunk-{chunk:06d}.npz"

    def pool_path(self, part: int) -> Path:
        """Return the part file of the minimum-bias pool."""
        return self.parts / f"pool-{part:02d}.npz"

    def finished_chunks(self) -> dict[int, int]:
        """Return the number of jets of each finished chunk."""
        return {
            int(path.stem.removeprefix("chunk-")): PackedJets.load(path).num_jets
            for path in sorted(self.parts.glob("chunk-*.npz"))
        }

    def is_complete(self) -> bool:
        """Whether the final files are there with the same settings.

        Raises
        ------
        RaytagError
            If the folder holds jets made otherwise.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise RaytagError(f"{self.folder}: a file stands where the data folder should be.")
        for path in sorted(self.folder.glob("pp_output_*.h5")):
            recorded = _recorded_settings(path)
            if recorded is None:
                raise RaytagError(f"{path}: not made by raytag data simulate. Name another folder.")
            if recorded != self.settings.to_dict():
                raise RaytagError(_other_settings(path, recorded, self.settings))
        return all((self.folder / name).exists() for name in file_names(self.settings.process))

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the working folder for this process, after checking that its parts fit the settings."""
        self.parts.mkdir(parents=True, exist_ok=True)
        with (self.parts / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RaytagError(
                    f"{self.folder}: another raytag data simulate is at work there. Wait for it."
                ) from None
            self._check_parts()
            yield

    def publish(self, drafts: Path) -> None:
        """Move the final files into place and drop the parts."""
        for name in file_names(self.settings.process):
            (drafts / name).replace(self.folder / name)
        self.tidy()

    def tidy(self) -> None:
        """Drop the parts."""
        shutil.rmtree(self.parts, ignore_errors=True)

    def _check_parts(self) -> None:
        record = self.parts / "settings.json"
        current = {
            "settings": self.settings.to_dict(),
            "packages": {package: version(package) for package in PACKAGES},
        }
        if not record.exists():
            draft = record.with_suffix(".draft")
            draft.write_text(json.dumps(current, indent=2), encoding="utf-8")
            draft.replace(record)
            return
        found = json.loads(record.read_text(encoding="utf-8"))
        if found["settings"] != current["settings"]:
            raise RaytagError(_other_settings(self.parts, found["settings"], self.settings))
        if found["packages"] != current["packages"]:
            made = ", ".join(f"{name} {number}" for name, number in found["packages"].items())
            raise RaytagError(f"{self.parts}: begun with {made}, which is not what runs now. Remove {self.parts}.")


def _recorded_settings(path: Path) -> dict[str, Any] | None:
    try:
        with h5py.File(path, "r") as file:
            text = file.attrs.get(SETTINGS_ATTRIBUTE)
    except OSError:
        return None
    return None if text is None else dict(json.loads(text))


def _other_settings(path: Path, found: dict[str, Any], wanted: Settings) -> str:
    differences = [
        f"{OPTIONS.get(name, name)} {found.get(name)} instead of {value}"
        for name, value in wanted.to_dict().items()
        if found.get(name) != value
    ]
    return f"{path}: made with {', '.join(differences)}. Name another folder, or remove this one."
