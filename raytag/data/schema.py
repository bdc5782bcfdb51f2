"""The GN2 h5 layout: datasets, variables with units, truth labels and what they mean.

Source: ATLAS FTAG h5 as written by the training-dataset-dumper and umami-preprocessing, read by Salt.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np

__all__ = [
    "EVENT_NUMBER",
    "JETS",
    "JET_DTYPE",
    "JET_LABEL",
    "MAX_TRACKS",
    "ORIGIN_LABEL",
    "TRACKS",
    "TRACK_DTYPE",
    "TRUTH_VARIABLES",
    "UNITS",
    "VALID",
    "VERTEX_LABEL",
    "Flavour",
    "Origin",
    "Split",
    "Variable",
]

Split = Literal["train", "val", "test"]

JETS = "jets"
TRACKS = "tracks"
VALID = "valid"
JET_LABEL = "flavour_label"
EVENT_NUMBER = "eventNumber"
ORIGIN_LABEL = "ftagTruthOriginLabel"
VERTEX_LABEL = "ftagTruthVertexIndex"
MAX_TRACKS = 40


class Flavour(IntEnum):
    """Jet classes in the order of the ``flavour_label`` attribute of the files raytag simulates."""

    BJETS = 0
    CJETS = 1
    UJETS = 2
    TAUJETS = 3


class Origin(IntEnum):
    """Truth origins of a track (``ftagTruthOriginLabel``); -1 marks an empty slot."""

    PILEUP = 0
    FAKE = 1
    PRIMARY = 2
    FROM_B = 3
    FROM_BC = 4
    FROM_C = 5
    FROM_TAU = 6
    OTHER_SECONDARY = 7


HEAVY_FLAVOUR_ORIGINS = (Origin.FROM_B, Origin.FROM_BC, Origin.FROM_C)


@dataclass(frozen=True)
class Variable:
    """One column of a structured dataset."""

    name: str
    unit: str
    dtype: str
    is_truth: bool = False


JET_VARIABLES = (
    Variable("pt", "MeV", "f4"),
    Variable("eta", "", "f4"),
    Variable("mass", "MeV", "f4"),
    Variable("pt_btagJes", "MeV", "f4"),
    Variable("eta_btagJes", "", "f4"),
    Variable("absEta_btagJes", "", "f4"),
    Variable("HadronConeExclTruthLabelPt", "MeV", "f4", is_truth=True),
    Variable("HadronConeExclTruthLabelLxy", "mm", "f4", is_truth=True),
    Variable("n_tracks", "", "i4"),
    Variable("HadronConeExclTruthLabelID", "", "i4", is_truth=True),
    Variable("HadronConeExclExtendedTruthLabelID", "", "i4", is_truth=True),
    Variable(JET_LABEL, "", "i4", is_truth=True),
    Variable("n_truth_promptLepton", "", "i4", is_truth=True),
    Variable(EVENT_NUMBER, "", "i8"),
)

TRACK_VARIABLES = (
    Variable("d0", "mm", "f4"),
    Variable("z0SinTheta", "mm", "f4"),
    Variable("dphi", "rad", "f4"),
    Variable("deta", "", "f4"),
    Variable("qOverP", "1/MeV", "f4"),
    Variable("IP3D_signed_d0_significance", "", "f4"),
    Variable("IP3D_signed_z0_significance", "", "f4"),
    Variable("phiUncertainty", "rad", "f4"),
    Variable("thetaUncertainty", "rad", "f4"),
    Variable("qOverPUncertainty", "1/MeV", "f4"),
    Variable("numberOfPixelHits", "", "u1"),
    Variable("numberOfSCTHits", "", "u1"),
    Variable("numberOfInnermostPixelLayerHits", "", "u1"),
    Variable("numberOfNextToInnermostPixelLayerHits", "", "u1"),
    Variable("numberOfInnermostPixelLayerSharedHits", "", "u1"),
    Variable("numberOfInnermostPixelLayerSplitHits", "", "u1"),
    Variable("numberOfPixelSharedHits", "", "u1"),
    Variable("numberOfPixelSplitHits", "", "u1"),
    Variable("numberOfSCTSharedHits", "", "u1"),
    Variable("leptonID", "", "i1"),
    Variable(ORIGIN_LABEL, "", "i1", is_truth=True),
    Variable(VERTEX_LABEL, "", "i1", is_truth=True),
    Variable(VALID, "", "?"),
)

JET_DTYPE = np.dtype([(variable.name, variable.dtype) for variable in JET_VARIABLES])
TRACK_DTYPE = np.dtype([(variable.name, variable.dtype) for variable in TRACK_VARIABLES])

UNITS = {variable.name: variable.unit for variable in (*JET_VARIABLES, *TRACK_VARIABLES)}

# Never inputs: the simulated truth, and the event number that makes the splits.
TRUTH_VARIABLES = frozenset(
    {variable.name for variable in (*JET_VARIABLES, *TRACK_VARIABLES) if variable.is_truth} | {EVENT_NUMBER}
)
