"""Folds divide the training jets event by event."""

import h5py
import numpy as np
import pytest
from numpy.lib.recfunctions import drop_fields

from raytag.data.cache import open_split
from raytag.data.folds import assign_folds
from raytag.errors import DataError


def without_event_numbers(jets):
    return drop_fields(jets, "eventNumber")


def one_event(jets):
    jets["eventNumber"] = 17
    return jets


def test_jets_of_an_event_are_in_the_same_fold(experiment, folder):
    folds = assign_folds(open_split(experiment().data, "train"), 5)

    with h5py.File(folder / "pp_output_train.h5") as file:
        events = file["jets"]["eventNumber"]
    assert len(np.unique(events)) < len(events)
    assert len(set(zip(events, folds, strict=True))) == len(np.unique(events))


@pytest.mark.parametrize("num_folds", [2, 4, 5, 10])
def test_folds_are_of_similar_size(experiment, num_folds):
    folds = assign_folds(open_split(experiment().data, "train"), num_folds)

    sizes = np.bincount(folds, minlength=num_folds)
    assert sizes.sum() == 1000
    assert (abs(sizes - 1000 / num_folds) < 0.25 * 1000 / num_folds).all()


def test_without_event_numbers_jets_are_dealt_out_in_turn(experiment, folder, rewrite):
    rewrite(folder / "pp_output_train.h5", jets=without_event_numbers)

    table = open_split(experiment().data, "train")

    assert table.events is None
    assert assign_folds(table, 3).tolist() == [jet % 3 for jet in range(1000)]


def test_event_numbers_that_divide_nothing_are_refused(experiment, folder, rewrite):
    rewrite(folder / "pp_output_train.h5", jets=one_event)

    with pytest.raises(DataError) as caught:
        assign_folds(open_split(experiment().data, "train"), 3)

    assert str(caught.value) == (
        "search.folds: none of the 1,000 training jets is in fold 0, that is eventNumber // 10 % 3. Lower it."
    )
