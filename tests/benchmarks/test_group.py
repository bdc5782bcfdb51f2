"""What the benchmark of the groups measures."""

import numpy as np
import pytest
import torch

from benchmarks import group_cell
from benchmarks.bounds import Rates, Work, count_work, measure_rates
from benchmarks.group_cell import PADDED, Way, build_step, measure_cell, peak_bytes, stopwatch

CPU = torch.device("cpu")
MIB = 2**20


@pytest.fixture
def experiment(tagger_experiment):
    search = {"widths": (32,), "trials_per_width": 1, "sampler": "random"}
    return tagger_experiment(training={"num_steps": 100, "batch_size": 16}, search=search)


def test_every_way_takes_steps(experiment, tmp_path):
    ways = [PADDED, Way("loop", rows=2), Way("vmap", rows=2)]
    figures = measure_cell(experiment, ways, CPU, tmp_path, num_rounds=3, patience=0)
    assert [(len(one.seconds), one.problem) for one in figures.values()] == [(3, None)] * 3


def test_a_way_that_fails_is_noted_and_the_others_measured(experiment, tmp_path, monkeypatch):
    def build(way, *_):
        if way.executor == "vmap":
            raise RuntimeError("no such rule\nin this compiler")
        return lambda: None

    monkeypatch.setattr(group_cell, "build_step", build)
    ways = [PADDED, Way("vmap")]
    figures = measure_cell(experiment, ways, CPU, tmp_path, num_rounds=4, patience=60)
    assert figures[Way("vmap")].problem == "RuntimeError: no such rule"
    assert len(figures[PADDED].seconds) == 4


def test_work_counts_forward_and_backward():
    matrix = torch.ones(64, 64, requires_grad=True)
    work = count_work(lambda: (matrix @ matrix).sum().backward())
    assert work.flops == 3 * 2 * 64**3  # the product, and the gradients of its two factors
    assert work.bytes > 3 * 3 * matrix.nbytes
    assert 5 <= work.launches <= 12


def test_a_group_does_the_work_of_its_rows(experiment, tmp_path):
    one, two = (count_work(build_step(Way("loop", rows=rows), experiment, CPU, tmp_path)) for rows in (1, 2))
    assert two.flops == 2 * one.flops


@pytest.mark.parametrize(
    ("work", "bound"),
    [(Work(20, 100, 100), "launch"), (Work(1, 2000, 100), "bandwidth"), (Work(1, 100, 9000), "arithmetic")],
)
def test_the_longest_work_is_the_bound(work, bound):
    assert work.bound(Rates(launches=10, bytes=1000, flops=1000)) == bound


def test_rates_are_those_of_the_device():
    rates = measure_rates(CPU, lambda call: stopwatch(call, CPU), num_launches=100, size=128)
    assert rates.flops > rates.launches > 0
    assert rates.bytes > 0


def test_the_peak_of_a_step_is_seen_and_what_was_there_before_is_not():
    kept = np.ones(64 * MIB, np.uint8)
    peak = peak_bytes(lambda: np.ones(32 * MIB, np.uint8), CPU)
    assert 30 * MIB < peak < 48 * MIB
    assert kept.size
