"""An ensemble's class probabilities as an evaluation file of Salt's layout, which puma and other plotting tools read.

The dataset ``jets`` has one float32 field per class, named as by Salt's PredictionWriter with the short names of
atlas-ftag-tools (github.com/umami-hep; bjets gives raytag_pb), and what plots need of the input file.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from raytag import __version__
from raytag.data.h5 import inspect, split_path
from raytag.data.schema import EVENT_NUMBER, JET_LABEL, JETS
from raytag.trained.ensemble import Ensemble

__all__ = ["MODEL", "probability_fields", "write_scores"]

MODEL = "raytag"

# Copied as they are if the input has them: truth labels, what jets are binned in, and what tells jets apart.
COPIED = (JET_LABEL, "HadronConeExclTruthLabelID", "pt", "eta", EVENT_NUMBER)


def probability_fields(class_names: Sequence[str]) -> list[str]:
    """Return the field of each class: bjets → raytag_pb, taujets → raytag_ptau, other → raytag_pother."""
    return [f"{MODEL}_p{name.removesuffix('jets')}" for name in class_names]


def write_scores(path: Path, ensemble: Ensemble) -> None:
    """Write a row for each jet that was measured, in the order of the input file. The file is whole or not there."""
    plan = ensemble.plan
    source = split_path(plan.experiment.data, plan.split)
    assert source is not None, f"the {plan.split} jets were measured without a file"
    class_names = inspect(source).class_names
    rows = _rows(source, ensemble.probabilities.numpy(), probability_fields(class_names))
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with h5py.File(partial, "w") as file:
            jets = file.create_dataset(JETS, data=rows, compression="lzf")
            jets.attrs[JET_LABEL] = list(class_names)
            file.attrs.update(
                {
                    "content": f"mean class probabilities of {ensemble.num_models} models",
                    "source": str(source),
                    "split": plan.split,
                    "study": plan.folder.path.name,
                    "trials": [trial.record.name for trial in ensemble.trials],
                    "raytag_version": __version__,
                }
            )
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _rows(source: Path, probabilities: NDArray[np.float64], fields: Sequence[str]) -> NDArray[np.void]:
    """Return probabilities (J, C) and what is copied as structured rows (J,)."""
    with h5py.File(source) as file:
        jets = file[JETS]
        copied = [name for name in COPIED if name in jets.dtype.names]
        given = jets.fields(copied)[: len(probabilities)]
    types = [(name, np.dtype(np.float32)) for name in fields] + [(name, given.dtype[name]) for name in copied]
    rows = np.empty(len(probabilities), dtype=types)
    for column, name in enumerate(fields):
        rows[name] = probabilities[:, column]
    for name in copied:
        rows[name] = given[name]
    return rows
