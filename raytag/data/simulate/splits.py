"""Which file a jet goes to, by its event number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["SPLITS", "file_name", "is_test", "split_of"]

SPLITS = ("train", "val", "test")
VAL_REMAINDER = 8
TEST_REMAINDER = 9


def is_test(event_number: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether events belong to the test split."""
    return np.equal(event_number % 10, TEST_REMAINDER)


def split_of(event_number: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return 0 (train), 1 (val) or 2 (test) for eventNumber % 10 in 0-7, 8 and 9."""
    remainder = event_number % 10
    return np.where(remainder < VAL_REMAINDER, 0, np.where(remainder == VAL_REMAINDER, 1, 2))


def file_name(split: str, process: str) -> str:
    """Return the name of a split's file."""
    return f"pp_output_test_{process}.h5" if split == "test" else f"pp_output_{split}.h5"
