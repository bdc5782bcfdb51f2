"""Wall and CPU seconds of a whole command, with every process that it starts.

Two habits of Ray defeat ``times(2)``: its daemons leave the command's family, and the raylet ignores SIGCHLD, so the
kernel adds its workers' time to nobody's account. Hence this process adopts orphans (``PR_SET_CHILD_SUBREAPER``, Linux)
and reads the CPU time of all its descendants from /proc every 0.1 s. What a process uses after it was last seen is
missed, 0.1 s at most; :attr:`Cost.num_processes` times that bounds the error. It favours the side with more processes.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SAMPLE_SECONDS", "Cost", "measure"]

SAMPLE_SECONDS = 0.1
PATIENCE_SECONDS = 30.0
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


@dataclass(frozen=True)
class Cost:
    """What a command took.

    Attributes
    ----------
    wall_seconds
        Until it ended.
    cpu_seconds, num_processes
        Of all its processes.
    foreign_share
        Share of the machine's cores that was busy with something else meanwhile.
    """

    wall_seconds: float
    cpu_seconds: float
    num_processes: int
    foreign_share: float


def measure(command: Sequence[str], folder: Path, log: Path) -> Cost:
    """Run a command in a folder, its output into a log.

    The wall clock stops when the command ends; processes it leaves behind are waited for and count with CPU time only.
    The calling process may have no other children, as it could not tell them from orphans.

    Raises
    ------
    RuntimeError
        The command failed, or its processes do not end.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    with _sampled() as samples:
        busy_before, started = _busy_seconds(), time.monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
            code = process.wait()
        wall_seconds = time.monotonic() - started
        _wait_for_orphans()
        elapsed = time.monotonic() - started
    cpu_seconds = sum(samples.values())
    foreign = _busy_seconds() - busy_before - cpu_seconds
    if code:
        raise RuntimeError(f"{' '.join(command)} ended with {code}; its output is in {log}")
    return Cost(wall_seconds, cpu_seconds, len(samples), foreign / (elapsed * (os.cpu_count() or 1)))


@contextmanager
def _sampled() -> Iterator[dict[tuple[int, int], float]]:
    """Follow this process's descendants while the block runs: (process id, start time) → CPU seconds."""
    seen: dict[tuple[int, int], float] = {}
    stop = threading.Event()

    def follow() -> None:
        while not stop.wait(SAMPLE_SECONDS):
            seen.update(_descendants())

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def _descendants() -> dict[tuple[int, int], float]:
    """Return the CPU seconds of every living descendant of this process."""
    ticks = os.sysconf("SC_CLK_TCK")
    children: dict[int, list[int]] = {}
    used: dict[int, tuple[int, float]] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208  # a Path for each process, ten times a second, is slow
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat") as file:  # noqa: PTH123
                fields = file.read().rpartition(")")[2].split()  # from field 3 of proc(5) on
        except OSError:  # it has just ended
            continue
        children.setdefault(int(fields[1]), []).append(int(entry))
        used[int(entry)] = (int(fields[19]), (int(fields[11]) + int(fields[12])) / ticks)
    found, front = {}, [os.getpid()]
    while front:
        front = [child for parent in front for child in children.get(parent, ())]
        found.update({(child, used[child][0]): used[child][1] for child in front})
    return found


def _busy_seconds() -> float:
    """Return the seconds that all cores of the machine worked, or were taken by its host, since it started."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _wait_for_orphans() -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:  # there are none any more
            return
        if not pid:
            time.sleep(SAMPLE_SECONDS / 2)
    raise RuntimeError(f"processes that a command left behind still run after {PATIENCE_SECONDS:.0f} s")
