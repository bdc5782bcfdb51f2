"""The benchmark of the search: the same 32 trials by raytag and by plain Ray Tune, in turn. About ten minutes.

    python -m benchmarks.sweep [--pairs 3] [--trials 64] [--gpus-per-trial 0.125] [--write]

docs/performance.md says what is compared and where the two sides differ; ``--write`` puts the figures there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.console import Console

from benchmarks.comparison import Comparison, Run, describe
from benchmarks.job import Job
from benchmarks.page import write_block
from benchmarks.steps import time_steps
from benchmarks.stopwatch import measure
from raytag.config.load import load_experiment, load_space
from raytag.search.folder import StudyFolder
from raytag.search.study import Study
from raytag.training.gates import run_gates
from raytag.workloads import open_workload

ROOT = Path(__file__).parents[1]
EXPERIMENT = ROOT / "benchmarks" / "sweep.yaml"

# For both sides: no report to Ray's makers, which would wait for the network.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweep", description=__doc__)
    parser.add_argument("--pairs", type=int, default=3, help="runs of each side (default: 3)")
    parser.add_argument("--trials", type=int, default=32, help="of each side, at all widths together (default: 32)")
    parser.add_argument(
        "--gpus-per-trial", type=float, default=0, help="share of a GPU for each process of plain Ray Tune (default: 0)"
    )
    parser.add_argument("--write", action="store_true", help="write the figures into docs/performance.md")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="change a value of benchmarks/sweep.yaml")
    options = parser.parse_args(arguments)
    num_widths = len(load_experiment(EXPERIMENT, options.overrides).search.widths)
    overrides = [f"search.trials_per_width={options.trials // num_widths}", *options.overrides]
    console = Console(highlight=False, soft_wrap=True)
    with TemporaryDirectory(prefix="raytag-benchmark-") as folder:
        text = describe(_compare(Path(folder), options.pairs, overrides, options.gpus_per_trial, console))
    console.print(f"\n{text}", markup=False)
    if options.write:
        write_block("python -m benchmarks.sweep --write", text)


def _compare(
    folder: Path, num_pairs: int, overrides: Sequence[str], gpus_per_trial: float, console: Console
) -> Comparison:
    experiment = load_experiment(EXPERIMENT, [*overrides, f"data.cache={folder / 'cache'}"])
    job = Job.open(experiment, load_space(experiment.search.space), gpus_per_trial)
    job.write(folder / "job")
    pairs = []
    for number in range(num_pairs):
        raytag = _run_raytag(folder / f"raytag-{number}", overrides)
        console.print(f"pair {number + 1} of {num_pairs}: raytag {raytag.cost.wall_seconds:.1f} s", end=", ")
        plain = _run_plain(folder / f"plain-{number}", folder / "job", is_reversed=number % 2 == 1)
        console.print(f"plain Ray Tune {plain.cost.wall_seconds:.1f} s")
        pairs.append((raytag, plain))
    return Comparison(
        experiment=experiment,
        num_cores=len(os.sched_getaffinity(0)),
        pairs=pairs,
        step_times=[time_steps(job, folder / "job", width) for width in experiment.search.widths],
        gate_seconds=run_gates(open_workload, experiment).wall_seconds,
    )


def _run_raytag(folder: Path, overrides: Sequence[str]) -> Run:
    """Search in an empty folder: the packed cache is made in every run."""
    folder.mkdir()
    places = [f"output={folder}", f"data.cache={folder / 'cache'}", f"mlflow.tracking_uri=sqlite:///{folder}/mlflow.db"]
    cost = measure(
        [sys.executable, "-m", "raytag.search", str(EXPERIMENT), *overrides, *places], ROOT, folder / "log.txt"
    )
    (study,) = folder.glob("*/study.journal")
    records = Study.load(StudyFolder(study.parent)).records()
    return Run(
        cost,
        objectives={record.name: record.objective for record in records},
        training_seconds=sum(record.cost.worker_seconds for record in records),
    )


def _run_plain(folder: Path, job: Path, *, is_reversed: bool) -> Run:
    """Train the job; with the jets of every minibatch in reverse, which changes nothing but the rounding."""
    shutil.copytree(job, folder)
    if is_reversed:
        np.save(folder / "order.npy", np.load(folder / "order.npy")[:, ::-1])
    cost = measure([sys.executable, "-m", "benchmarks.plain", str(folder)], ROOT, folder / "log.txt")
    results = json.loads((folder / "results.json").read_text())
    return Run(
        cost,
        objectives={name: result["objective"] for name, result in results.items()},
        training_seconds=sum(result["seconds"] for result in results.values()),
    )


if __name__ == "__main__":
    main()
