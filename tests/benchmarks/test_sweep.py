"""The benchmark runs, and says what it should."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = [
    "search.trials_per_width=2",
    "training.num_steps=40",
    "training.evaluate_every=20",
    "training.batch_size=16",
    "model.num_layers=1",
]


@pytest.mark.e2e
def test_a_small_benchmark_compares_both_sides():
    command = [sys.executable, "-m", "benchmarks.sweep", "--pairs", "1", *SMALL]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for row in ("| wall time, s |", "| CPU time of all processes, s |", "| raytag and plain |", "The muP gates"):
        assert row in done.stdout
