"""Records of a search that never ran."""

from __future__ import annotations

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
