"""Records of a search that never ran."""

from __future__ import annotations

import math
from statistics import stdev

import pytest
import trial_records

from raytag.records import TrialState


@pytest.fixture
def make_record():
    def make(width, number, objective, *, lr=2.0**-8, state=TrialState.COMPLETE, stderr=0.01):
        searched = {"lr": lr, "alpha_output": 2.0}
        history = {} if objective is None else {100: {"val/objective": objective, "val/objective_stderr": stderr}}
        return trial_records.make_record(width, number, state=state, searched=searched, history=history)

    return make


@pytest.fixture
def make_matrix():
    """Make a trial of several members from their objectives, a row per replica."""

    def make(width, number, *rows, lr=2.0**-8):
        members = [value for row in rows for value in row]
        stderr, searched = stdev(members) / math.sqrt(len(members)), {"lr": lr, "alpha_output": 2.0}
        return trial_records.make_matrix(*rows, stderr=stderr, width=width, number=number, searched=searched)

    return make
