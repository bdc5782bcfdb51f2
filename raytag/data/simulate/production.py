"""A production: chunks over processes, kept as part files until the final files are written at once."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from raytag.data.simulate import worker
from raytag.data.simulate.packed import PackedJets
from raytag.data.simulate.progress import Report
from raytag.data.simulate.settings import Settings
from raytag.data.simulate.workspace import Workspace
from raytag.data.simulate.writer import write_dataset
from raytag.errors import RaytagError

__all__ = ["available_cores", "produce"]

POOL_PARTS = 4
# Guessed until the first chunks are there, on the low side: too many chunks would be wasted work.
GUESSED_JETS_PER_EVENT = 2


def produce(workspace: Workspace, num_workers: int | None) -> None:
    """Make the final files of a workspace; what is finished of them is not made again.

    Raises
    ------
    RaytagError
        If the parts there were made otherwise, another process is at work there, or a worker died.
    KeyboardInterrupt
        After Ctrl-C, with a text that says how to go on.
    """
    with workspace.claimed(), Report() as report:
        try:
            _produce(workspace, num_workers or available_cores(), report)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"Stopped. The same command goes on from the parts in {workspace.parts}.") from None


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _produce(workspace: Workspace, num_workers: int, report: Report) -> None:
    started, cpu_before = time.monotonic(), _cpu_seconds()
    is_resumed = any(workspace.parts.glob("*.npz"))
    with _workers(num_workers) as executor:
        pool = _make_pool(workspace, executor, report)
        chunks = _make_chunks(workspace, executor, num_workers, pool, report)
    _write(workspace, chunks, report)
    seconds, cpu = time.monotonic() - started, _cpu_seconds() - cpu_before
    rate = "" if is_resumed else f", {workspace.settings.num_jets / cpu:,.0f} jets per CPU-second"
    report.say(f"{workspace.settings.num_jets:,} jets in {seconds:.0f} s{rate}")


def _make_pool(workspace: Workspace, executor: Executor, report: Report) -> tuple[Path, ...]:
    """Make the missing parts of the minimum-bias pool, which all chunks share."""
    settings = workspace.settings
    paths = tuple(workspace.pool_path(part) for part in range(POOL_PARTS))
    size = -(-settings.pool_events // POOL_PARTS)
    report.begin("Minimum-bias pool", POOL_PARTS * size, "events")
    done = sum(path.exists() for path in paths)
    futures = {
        executor.submit(worker.make_pool_part, settings, part, size, path)
        for part, path in enumerate(paths)
        if not path.exists()
    }
    while futures:
        finished, futures = wait(futures, return_when=FIRST_COMPLETED)
        for future in finished:
            future.result()
        done += len(finished)
        report.reach(done * size)
    return paths


def _make_chunks(
    workspace: Workspace, executor: Executor, num_workers: int, pool: tuple[Path, ...], report: Report
) -> list[Path]:
    """Make chunks until the first ones, without a gap, hold enough jets; return their paths in order."""
    settings = workspace.settings
    sizes = workspace.finished_chunks()
    running: dict[Future[int], int] = {}
    report.begin(f"{settings.process} jets", settings.num_jets, "jets")
    while (needed := _num_chunks_needed(sizes, settings.num_jets)) is None:
        report.reach(sum(sizes.values()))
        while len(running) < num_workers and _expected(sizes, len(running), settings) < settings.num_jets:
            chunk = next(number for number in count() if number not in sizes and number not in running.values())
            path = workspace.chunk_path(chunk)
            running[executor.submit(worker.make_chunk, settings, chunk, pool, path)] = chunk
        finished, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in finished:
            sizes[running.pop(future)] = future.result()
    report.reach(settings.num_jets)
    return [workspace.chunk_path(chunk) for chunk in range(needed)]


def _num_chunks_needed(sizes: Mapping[int, int], num_jets: int) -> int | None:
    """Return how many chunks from the first on make enough jets; None while one of them is missing."""
    for chunk in count():
        if num_jets <= 0:
            return chunk
        if chunk not in sizes:
            return None
        num_jets -= sizes[chunk]
    raise AssertionError("count() does not end")


def _expected(sizes: Mapping[int, int], num_running: int, settings: Settings) -> float:
    """Return the jets to be had from the finished and the running chunks."""
    total = sum(sizes.values())
    mean = total / len(sizes) if total else GUESSED_JETS_PER_EVENT * settings.events_per_chunk
    return total + num_running * mean


def _write(workspace: Workspace, chunks: list[Path], report: Report) -> None:
    report.begin("Writing files", workspace.settings.num_jets, "jets")
    drafts = workspace.parts / "final"
    drafts.mkdir(exist_ok=True)

    def parts() -> Iterator[PackedJets]:
        return (PackedJets.load(path) for path in chunks)

    write_dataset(drafts, workspace.settings, parts, report.reach)
    workspace.publish(drafts)


@contextmanager
def _workers(number: int) -> Iterator[Executor]:
    """Start workers; on any error end them at once, since what they were at is made again."""
    executor = ProcessPoolExecutor(number, multiprocessing.get_context("spawn"), initializer=worker.start)
    before = set(multiprocessing.active_children())
    try:
        yield executor
    except BaseException as error:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        executor.shutdown(cancel_futures=True)
        if isinstance(error, BrokenProcessPool):
            raise RaytagError(
                "A worker process was killed (out of memory?). The same command goes on; fewer --workers need less."
            ) from error
        raise
    executor.shutdown()


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
