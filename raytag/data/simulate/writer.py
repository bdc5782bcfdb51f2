"""The files of a data folder: h5 in the GN2 layout, norm_dict.yaml and class_dict.yaml, the same bytes every time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import yaml
from numpy.typing import NDArray

from raytag.data.moments import Moments
from raytag.data.schema import (
    JET_DTYPE,
    JET_LABEL,
    JET_VARIABLES,
    JETS,
    MAX_TRACKS,
    ORIGIN_LABEL,
    TRACK_DTYPE,
    TRACK_VARIABLES,
    TRACKS,
    TRUTH_VARIABLES,
    VALID,
    VERTEX_LABEL,
    Flavour,
    Origin,
)
from raytag.data.simulate.packed import PackedJets
from raytag.data.simulate.settings import Settings
from raytag.data.simulate.splits import SPLITS, file_name, split_of

__all__ = ["SETTINGS_ATTRIBUTE", "class_weights", "file_names", "write_dataset"]

SETTINGS_ATTRIBUTE = "raytag_simulate"
NORM_DICT = "norm_dict.yaml"
CLASS_DICT = "class_dict.yaml"
ROWS_PER_H5_CHUNK = 100
GZIP_LEVEL = 4

# Single tracks would rule the loss if the weight of a class that hardly occurs were its inverse share: such a track in
# the validation file, and label smoothing even without one. The rarest origin of ttbar, FROM_TAU, weighs 61.
MAX_WEIGHT = 100.0

# What the tagger may read: everything measured, without the flag that tells tracks from empty slots.
JET_INPUTS = tuple(v.name for v in JET_VARIABLES if v.name not in TRUTH_VARIABLES)
TRACK_INPUTS = tuple(v.name for v in TRACK_VARIABLES if v.name not in TRUTH_VARIABLES and v.name != VALID)

# The split of a jet that is left out.
NO_SPLIT = -1

Parts = Callable[[], Iterable[PackedJets]]


def file_names(process: str) -> tuple[str, ...]:
    """Return the names of all files of a data folder."""
    return (*(file_name(split, process) for split in SPLITS), NORM_DICT, CLASS_DICT)


def write_dataset(
    folder: Path, settings: Settings, parts: Parts, report: Callable[[int], None] = lambda _: None
) -> dict[str, int]:
    """Write a data folder from the first ``settings.num_jets`` jets of the parts.

    τ jets are left out of all files if one could not train on them: if val has none of them, or train fewer than one to
    100 of its largest class. τ is the last class, so that the labels of the others stay.

    Parameters
    ----------
    folder
        An existing folder.
    settings
        Recorded in the h5 files.
    parts
        Gives the parts in order; called twice.
    report
        Called with the number of jets written so far, those left out among them.

    Returns
    -------
    dict
        Number of jets of each split.
    """
    counts = _jet_counts(_truncated(parts(), settings.num_jets))
    classes = _classes(counts)
    sizes = counts[:, : len(classes)].sum(axis=1)
    writers = [
        _SplitWriter(folder / file_name(split, settings.process), int(size), classes, settings)
        for split, size in zip(SPLITS, sizes, strict=True)
    ]
    statistics = _TrainingStatistics(len(classes))
    num_written = 0
    try:
        for part in _truncated(parts(), settings.num_jets):
            split = np.where(part.jets[JET_LABEL] < len(classes), split_of(part.jets["eventNumber"]), NO_SPLIT)
            for index, writer in enumerate(writers):
                writer.append(part.select(split == index))
            statistics.update(part.select(split == 0))
            num_written += part.num_jets
            report(num_written)
    finally:
        for writer in writers:
            writer.close()
    _write_yaml(folder / NORM_DICT, statistics.norm_dict())
    _write_yaml(folder / CLASS_DICT, statistics.class_dict())
    return dict(zip(SPLITS, sizes.tolist(), strict=True))


def class_weights(counts: NDArray[np.int64]) -> list[float]:
    """Return the weight of each class: the largest count over its own, at most 100."""
    return [float(weight) for weight in np.minimum(counts.max() / np.maximum(counts, 1), MAX_WEIGHT)]


def _jet_counts(parts: Iterable[PackedJets]) -> NDArray[np.int64]:
    """Return the number of jets of each split and flavour."""
    counts = np.zeros((len(SPLITS), len(Flavour)), dtype=np.int64)
    for part in parts:
        np.add.at(counts, (split_of(part.jets["eventNumber"]), part.jets[JET_LABEL]), 1)
    return counts


def _classes(counts: NDArray[np.int64]) -> tuple[Flavour, ...]:
    """Return the classes of the files, given the number of jets of each split and flavour."""
    train, val, _ = counts
    has_taus = val[Flavour.TAUJETS] > 0 and train[Flavour.TAUJETS] * MAX_WEIGHT >= train.max() > 0
    return tuple(flavour for flavour in Flavour if has_taus or flavour != Flavour.TAUJETS)


def _truncated(parts: Iterable[PackedJets], num_jets: int) -> Iterator[PackedJets]:
    missing = num_jets
    for part in parts:
        yield part.select(np.arange(part.num_jets) < missing)
        missing -= part.num_jets
        if missing <= 0:
            return


class _SplitWriter:
    """One h5 file, filled part by part."""

    def __init__(self, path: Path, num_jets: int, classes: tuple[Flavour, ...], settings: Settings) -> None:
        self._file = h5py.File(path, "w")
        self._jets = self._dataset(JETS, (num_jets,), JET_DTYPE)
        self._tracks = self._dataset(TRACKS, (num_jets, MAX_TRACKS), TRACK_DTYPE)
        self._jets.attrs["flavour_label"] = [flavour.name.lower() for flavour in classes]
        self._file.attrs["unique_jets"] = num_jets
        self._file.attrs["generator"] = f"Pythia8 {settings.process} at 13 TeV, raytag's parametric tracker"
        self._file.attrs[SETTINGS_ATTRIBUTE] = json.dumps(settings.to_dict())
        self._num_written = 0

    def _dataset(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        chunks = (min(ROWS_PER_H5_CHUNK, max(shape[0], 1)), *shape[1:])
        # No time stamps: the same jets make the same bytes.
        return self._file.create_dataset(
            name,
            shape,
            dtype,
            chunks=chunks if shape[0] else None,
            compression="gzip" if shape[0] else None,
            compression_opts=GZIP_LEVEL if shape[0] else None,
            shuffle=bool(shape[0]),
            track_times=False,
        )

    def append(self, part: PackedJets) -> None:
        """Write the next jets."""
        rows = slice(self._num_written, self._num_written + part.num_jets)
        if part.num_jets:
            self._jets[rows] = part.jets
            self._tracks[rows] = _padded(part)
        self._num_written = rows.stop

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _empty_slot() -> NDArray[np.void]:
    """Return one slot without a track: NaN, 0, -1 for truth, not valid."""
    slot = np.zeros((), dtype=TRACK_DTYPE)
    for variable in TRACK_VARIABLES:
        if variable.dtype == "f4":
            slot[variable.name] = np.nan
    slot[ORIGIN_LABEL] = slot[VERTEX_LABEL] = -1
    return slot


def _padded(part: PackedJets) -> NDArray[np.void]:
    """Return the tracks as (J, 40) slots, in falling |d0 significance|, empty slots last."""
    slots = np.full((len(part.counts), MAX_TRACKS), _empty_slot(), dtype=TRACK_DTYPE)
    slots[np.arange(MAX_TRACKS) < part.counts[:, None]] = part.tracks
    return slots


class _TrainingStatistics:
    """What norm_dict.yaml and class_dict.yaml say about the training file, gathered part by part."""

    def __init__(self, num_classes: int) -> None:
        self._jets = {name: Moments() for name in JET_INPUTS}
        self._tracks = {name: Moments() for name in TRACK_INPUTS}
        self._flavours = np.zeros(num_classes, dtype=np.int64)
        self._origins = np.zeros(len(Origin), dtype=np.int64)

    def update(self, part: PackedJets) -> None:
        """Count the jets and valid tracks of a part."""
        for moments, rows in ((self._jets, part.jets), (self._tracks, part.tracks)):
            for name, moment in moments.items():
                moment.update(rows[name])
        self._flavours += np.bincount(part.jets[JET_LABEL], minlength=len(self._flavours))
        self._origins += np.bincount(part.tracks[ORIGIN_LABEL], minlength=len(Origin))

    def norm_dict(self) -> dict[str, Any]:
        """Return mean and standard deviation of every input; of tracks over the valid ones."""
        return {
            dataset: {name: {"mean": moment.mean, "std": moment.std or 1.0} for name, moment in moments.items()}
            for dataset, moments in ((JETS, self._jets), (TRACKS, self._tracks))
        }

    def class_dict(self) -> dict[str, Any]:
        """Return the weights of the classes of jets and of track origins."""
        return {
            JETS: {JET_LABEL: class_weights(self._flavours)},
            TRACKS: {ORIGIN_LABEL: class_weights(self._origins)},
        }


def _write_yaml(path: Path, values: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
