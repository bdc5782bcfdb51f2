"""The muP gates before a training: as a Ray task, once for the same settings, and not if they are to be skipped."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import ray
from rich.console import Console

from raytag.config.experiment import Experiment
from raytag.search.session import fetch
from raytag.search.verdict import GatedFolder, has_passed, keep_verdict, stored_verdict

if TYPE_CHECKING:
    from raytag.training.gate_bench import OpenWorkload

__all__ = ["check_mup"]


def check_mup(
    experiment: Experiment,
    folder: GatedFolder,
    console: Console,
    *,
    others: Iterable[GatedFolder] = (),
    target_width: int | None = None,
    open_workload: OpenWorkload | None = None,
    num_cpus: float = 1,
) -> dict[str, Any] | None:
    """Make sure that a folder has a verdict of the gates on an experiment, and show it; a failure is the caller's.

    Parameters
    ----------
    experiment, folder
        What is about to be trained, and where its verdict is kept.
    console
        Where the verdict is shown.
    others
        Folders whose verdict is taken over if the gates passed there with the same settings.
    target_width, open_workload
        See :func:`raytag.training.gates.run_gates`; :func:`raytag.workloads.open_workload` unless given.
    num_cpus
        What the Ray task reserves; it computes on one core of a CPU.

    Returns
    -------
    dict or None
        The report of the gates as plain values, with ``lines`` for the terminal; ``passed`` is None if they were
        skipped. None if they passed for this folder before.
    """
    if has_passed(folder, experiment):
        _say(console, "muP gates: passed before, with the same settings")
        return None
    if passed := next((other for other in others if has_passed(other, experiment)), None):
        same = f"muP gates: passed before, in {passed.path.name}, with the same settings"
        gates = stored_verdict(passed) | {"lines": [same]}
    elif experiment.mup.skip_check:
        gates = {"passed": None, "lines": ["muP gates: skipped (mup.skip_check)"]}
    else:
        with console.status("Checking muP: duplication and coordinates ..."):
            gates = fetch(_run.options(num_cpus=num_cpus).remote(experiment, target_width, open_workload))
    keep_verdict(folder, experiment, gates)
    for line in gates["lines"]:
        _say(console, line)
    return gates


@ray.remote
def _run(experiment: Experiment, target_width: int | None, opener: OpenWorkload | None) -> dict[str, Any]:
    """Run the gates in a process of Ray; return their report as plain values and lines for the terminal."""
    import torch

    from raytag.training.gates import run_gates
    from raytag.workloads import open_workload

    torch.set_num_threads(1)  # two OpenMP threads were 2 to 10 times slower on a shared machine
    report = run_gates(opener or open_workload, experiment, target_width)
    return {**report.to_dict(), "lines": list(report.lines())}


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)
