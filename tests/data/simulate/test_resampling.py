"""Classes that outnumber the target class get its spectrum; those that are rarer keep theirs."""

from __future__ import annotations

import numpy as np

from raytag.data.schema import Flavour
from raytag.data.simulate.resampling import NUM_ETA_BINS, NUM_PT_BINS, resample


def test_every_class_has_the_target_spectrum_where_it_has_enough_jets():
    rng = np.random.default_rng(1)
    flavour = rng.choice(4, 20_000, p=[0.4, 0.1, 0.4, 0.1]).astype(np.int32)
    bins = rng.integers(0, 10, len(flavour)) + 2 * flavour

    kept = resample(bins, flavour, Flavour.CJETS, rng)

    spectra = [
        np.bincount(bins[kept][flavour[kept] == value], minlength=NUM_PT_BINS * NUM_ETA_BINS) for value in range(4)
    ]
    available = np.bincount(bins[flavour == Flavour.BJETS], minlength=NUM_PT_BINS * NUM_ETA_BINS)
    assert np.array_equal(spectra[Flavour.BJETS], np.minimum(available, spectra[Flavour.CJETS]))
    assert spectra[Flavour.CJETS].sum() == np.count_nonzero(flavour == Flavour.CJETS)
    assert spectra[Flavour.TAUJETS].sum() == np.count_nonzero(flavour == Flavour.TAUJETS)
    assert len(np.unique(kept)) == len(kept)


def test_a_class_rarer_than_the_target_in_every_bin_keeps_all_its_jets():
    rng = np.random.default_rng(1)
    flavour = np.repeat(np.array([Flavour.BJETS, Flavour.UJETS], dtype=np.int32), (100, 1000))
    bins = np.tile(np.arange(10), 110)

    kept = resample(bins, flavour, Flavour.UJETS, rng)

    assert np.array_equal(np.sort(kept), np.arange(1100))
