"""An extracted model applied to jets, from a file or from arrays. The truth is not read: it may be missing.

Axes: J jets, S track slots, C classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raytag.config.wording import did_you_mean
from raytag.data.batches import PackedBatch
from raytag.data.h5 import inspect
from raytag.data.schema import JETS, TRACKS, VALID
from raytag.errors import DataError, Problem
from raytag.tagging.packing import JetBatch, pack
from raytag.tagging.workload import EVALUATION_BATCH_SIZE
from raytag.trained.model import build_model
from raytag.trained.model_file import Inputs, ModelFile, read_model_file

__all__ = ["Prediction", "predict", "predict_arrays"]

# Jets read from a file at once, whole batches: 4,096 jets of 40 slots are 10 MB.
BLOCK_JETS = 8 * EVALUATION_BATCH_SIZE

Rows = NDArray[np.void]


@dataclass(frozen=True)
class Prediction:
    """Class probabilities (J, C), and what the C classes are."""

    class_names: tuple[str, ...]
    probabilities: NDArray[np.float64]


def predict(path: Path | str, jets_file: Path | str) -> Prediction:
    """Apply an extracted model to all jets of an h5 file in the GN2 layout, in their order.

    Raises
    ------
    StudyError
        The model's file is missing, damaged or no model of raytag.
    DataError
        The jets' file is missing or damaged, or lacks a variable, or a variable is not finite.
    """
    file, source = read_model_file(path), Path(jets_file)
    inspect(source)
    with h5py.File(source) as h5:
        return _predict(file, _blocks(h5, source), source)


def predict_arrays(path: Path | str, jets: Rows, tracks: Rows) -> Prediction:
    """Apply an extracted model to structured arrays of jets (J,) and of track slots (J, S) with the flag ``valid``.

    Raises
    ------
    StudyError
        The model's file is missing, damaged or no model of raytag.
    DataError
        A variable is missing or not finite, or there are not as many rows of tracks as jets.
    """
    if len(jets) != len(tracks):
        raise DataError([Problem(TRACKS, f"{len(tracks):,} rows, but there are {len(jets):,} jets.")])
    return _predict(read_model_file(path), [(jets, tracks)], None)


def _blocks(h5: h5py.File, source: Path) -> Iterator[tuple[Rows, Rows]]:
    for start in range(0, len(h5[JETS]), BLOCK_JETS):
        rows = slice(start, start + BLOCK_JETS)
        try:
            yield h5[JETS][rows], h5[TRACKS][rows]
        except OSError as error:
            raise DataError([Problem("", f"jets from {start} on cannot be decoded ({error}).", file=source)]) from error


def _predict(file: ModelFile, blocks: Iterable[tuple[Rows, Rows]], source: Path | None) -> Prediction:
    model = build_model(file)
    found = [np.empty((0, len(file.class_names)))]
    with torch.no_grad():
        for jets, tracks in blocks:
            _check_names(file, jets, tracks, source)
            # batches as a trial's validation has them: another batch size rounds differently
            for start in range(0, len(jets), EVALUATION_BATCH_SIZE):
                rows = slice(start, start + EVALUATION_BATCH_SIZE)
                logits = model.classify_jets(_batch(file, jets[rows], tracks[rows], source))
                found.append(logits.double().log_softmax(-1).exp().numpy())
    return Prediction(file.class_names, np.concatenate(found))


def _batch(file: ModelFile, jets: Rows, slots: Rows, source: Path | None) -> JetBatch:
    """Lay out jets that nothing is known of but their measurements."""

    def place(dataset: str, rows: Rows, inputs: Inputs) -> Tensor:
        values = _columns(rows, dataset, inputs, source)
        return torch.from_numpy(inputs.scaling.standardise(values, float_type))

    float_type = torch.empty(0, dtype=file.dtype).numpy().dtype
    valid = slots[VALID].astype(bool)
    counts = torch.from_numpy(valid.sum(axis=1, dtype=np.int64))
    batch = PackedBatch(
        jets=place(JETS, jets, file.jets),
        tracks=place(TRACKS, slots[valid], file.tracks),
        counts=counts,
        jet_index=torch.arange(len(jets)).repeat_interleave(counts),
        jet_labels=torch.full((len(jets),), -1),
        origins=None,
        vertices=None,
    )
    return pack(batch, with_pairs=False)


def _columns(rows: Rows, dataset: str, inputs: Inputs, source: Path | None) -> NDArray[np.float32]:
    """Return the variables as (rows, F), or raise a DataError that names those which are not finite."""
    with np.errstate(over="ignore"):  # beyond float32 is infinite, which is refused
        values = np.stack([rows[name].astype(np.float32) for name in inputs.names], axis=-1)
    wrong = np.flatnonzero(~np.isfinite(values).all(axis=0))
    if len(wrong):
        raise DataError([Problem(dataset, f"{inputs.names[i]} is not finite in some rows.", source) for i in wrong])
    return values


def _check_names(file: ModelFile, jets: Rows, tracks: Rows, source: Path | None) -> None:
    """Raise a DataError that names every variable the arrays lack."""
    problems = []
    for dataset, rows, names in ((JETS, jets, file.jets.names), (TRACKS, tracks, (*file.tracks.names, VALID))):
        found = rows.dtype.names or ()
        problems += [
            Problem(dataset, f"no variable {name}, which the model reads.{did_you_mean(name, found)}", source)
            for name in names
            if name not in found
        ]
    if problems:
        raise DataError(problems)
