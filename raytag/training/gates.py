"""The two muP gates before a sweep, run through the trial groups, optimizer, schedule and batches that will train."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

from raytag.config.experiment import Experiment
from raytag.mup.growth import parameter_growth
from raytag.training.coordinate_gate import check_coordinates
from raytag.training.depth_gate import check_depth
from raytag.training.duplication_gate import Combination, check_duplication
from raytag.training.gate_bench import NUM_STEPS, OpenWorkload, open_bench
from raytag.training.gate_report import GateReport

__all__ = ["GateReport", "Tell", "run_gates"]

#: Is told of a gate and of what it does next.
Tell = Callable[[str, str], None]


def run_gates(
    open_workload: OpenWorkload,
    experiment: Experiment,
    target_width: int | None = None,
    *,
    combinations: Sequence[Combination] = (),
    tell: Tell = lambda _gate, _what: None,
) -> GateReport:
    """Run both gates on an experiment's model and data, on the CPU, and the gate for depth if it has a rule for it.

    Parameters
    ----------
    open_workload
        Opens the workload, with copies of the experiment that have small float64 batches.
    experiment
        The experiment to check, at its own base width and parametrisation.
    target_width
        A width to transfer to, which joins those of the coordinates unless it is beyond 1024.
    combinations
        Optimizers and schedules that duplication trains with; the experiment's own if empty.
    tell
        Is told what is done next: a gate, and what of it.
    """
    start = time.monotonic()
    workload = open_bench(open_workload, experiment)
    duplication = check_duplication(open_workload, experiment, combinations, partial(tell, "duplication"))
    tell("coordinates", "several widths")
    coordinates = check_coordinates(open_workload, experiment, target_width)
    depth = None
    if experiment.mup.depth_base is not None:
        tell("depth", "several depths")
        depth = check_depth(open_workload, experiment)
    return GateReport(
        parametrisation=experiment.mup.parametrisation,
        optimizer=experiment.training.optimizer,
        duplication=duplication,
        coordinates=coordinates,
        depth=depth,
        parameters=parameter_growth(workload.rule_table, experiment.mup.base_width),
        num_steps=NUM_STEPS,
        wall_seconds=time.monotonic() - start,
    )
