"""Which jets a fold holds out of the training."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from raytag.data.cache import JetTable
from raytag.data.schema import EVENT_NUMBER
from raytag.errors import DataError, Problem

__all__ = ["assign_folds"]


def assign_folds(table: JetTable, num_folds: int) -> NDArray[np.int64]:
    """Return the fold of each jet, (J,): floor(eventNumber / 10) % k, or the jet's row % k if the file has no events.

    Jets of an event share particles and must not be on both sides. The last digit of the event number is left alone,
    because it divides train, val and test.

    Raises
    ------
    DataError
        A fold has no jets.
    """
    if table.events is None:
        rule, keys = "row", np.arange(len(table))
    else:
        rule, keys = f"{EVENT_NUMBER} // 10", table.events // 10
    folds = keys % num_folds
    sizes = np.bincount(folds, minlength=num_folds)
    if sizes.min() == 0:
        message = f"none of the {len(table):,} training jets is in fold {sizes.argmin()}, that is {rule} % {num_folds}."
        raise DataError([Problem("search.folds", f"{message} Lower it.")])
    return folds
