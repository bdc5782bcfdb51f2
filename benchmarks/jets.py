"""More jets than the fixture holds, for large minibatches: its training file over and over.

The time of a step depends on the tracks per jet, which do not change, and never on whether a jet was seen before.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from raytag.config.experiment import DataConfig

__all__ = ["repeat_jets"]


def repeat_jets(data: DataConfig, num_jets: int, folder: Path) -> DataConfig:
    """Write the training jets into a folder until there are ``num_jets``; return the data with this file and cache."""
    path = folder / data.train.name
    with h5py.File(data.train) as source, h5py.File(path, "w") as target:
        for name, dataset in source.items():
            rows = np.resize(dataset[:], (num_jets, *dataset.shape[1:]))
            copy = target.create_dataset(name, data=rows, chunks=dataset.chunks, compression=dataset.compression)
            copy.attrs.update(dataset.attrs)
    return data.model_copy(update={"train": path, "cache": folder / "cache", "num_train_jets": None})
