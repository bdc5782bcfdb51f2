"""Records of a search that never ran."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import fmean, stdev

import pytest

from raytag.config.hyperparameters import Hyperparameters
from raytag.records import TrialRecord, TrialState


@pytest.fixture
def make_record():
    def make(width, number, objective, *, lr=2.0**-8, state=TrialState.COMPLETE, stderr=0.01):
        searched = {"lr": lr, "alpha_output": 2.0}
        history = {} if objective is None else {100: {"val/objective": objective, "val/objective_stderr": stderr}}
        hyperparameters = Hyperparameters(**searched)
        return TrialRecord(f"w{width}-{number:04d}", width, number, 1, state, searched, hyperparameters, history)

    return make


@pytest.fixture
def make_matrix(make_record):
    """Make a trial of several members from their objectives, a row per replica."""

    def make(width, number, *rows, **changes):
        members = [value for row in rows for value in row]
        stderr = stdev(members) / math.sqrt(len(members))
        single = make_record(width, number, fmean(members), stderr=stderr, **changes)
        return replace(
            single, members={100: tuple({"val/objective": value} for value in members)}, num_folds=len(rows[0])
        )

    return make
