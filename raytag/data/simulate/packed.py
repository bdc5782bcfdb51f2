"""Jets with their valid tracks, packed without empty slots: what a part file holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["PackedJets"]


@dataclass(frozen=True)
class PackedJets:
    """J jets in the GN2 layout with their T valid tracks one jet after the other; ``counts`` (J,) tracks of each."""

    jets: NDArray[np.void]
    tracks: NDArray[np.void]
    counts: NDArray[np.int64]

    @property
    def num_jets(self) -> int:
        """Number of jets."""
        return len(self.jets)

    def save(self, path: Path) -> None:
        """Write the arrays to a file."""
        with path.open("wb") as file:
            np.savez(file, jets=self.jets, tracks=self.tracks, counts=self.counts)

    @classmethod
    def load(cls, path: Path) -> PackedJets:
        """Read what :meth:`save` wrote."""
        with np.load(path) as arrays:
            return cls(arrays["jets"], arrays["tracks"], arrays["counts"])

    def select(self, keep: NDArray[np.bool_]) -> PackedJets:
        """Return the jets of a mask (J,)."""
        return PackedJets(self.jets[keep], self.tracks[np.repeat(keep, self.counts)], self.counts[keep])
