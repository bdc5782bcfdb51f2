"""Processes of a command under test: started and ended as a user would, waited for, and what they leave running."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

PATIENCE_SECONDS = 120


@contextmanager
def started(arguments, folder):
    """Start a command in a process group of its own, as a shell in the folder would; end it if the test fails."""
    search_path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # as when it is active
    process = subprocess.Popen(
        arguments,
        cwd=folder,
        env={**os.environ, "MLFLOW_TRACKING_URI": "", "PATH": search_path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()


class Ending(NamedTuple):
    """How a command ended: what it returned and printed, after how long, and the titles of processes left over."""

    code: int
    printed: str
    seconds: float
    orphans: list[str]


def interrupt(process):
    """Press Ctrl-C and wait for the end of a command; return its ending."""
    below = descendants(process.pid)
    pressed = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=PATIENCE_SECONDS)
    seconds = time.monotonic() - pressed
    return Ending(process.returncode, printed, seconds, [title for pid, title in below.items() if is_alive(pid)])


def kill(process):
    """Kill a command's own process, wait until those it had started have ended too; return what it printed."""
    below = descendants(process.pid)
    process.kill()
    printed, _ = process.communicate()
    wait_until(lambda: not any(is_alive(pid) for pid, title in below.items() if "Agent" not in title), "orphans to end")
    return printed


def wait_until(condition, what):
    """Wait for a condition; fail with what was waited for."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited too long for {what}"
        time.sleep(0.05)


def wait_for(process, condition, what):
    """Wait for a condition that a command brings about while it runs."""
    wait_until(lambda: condition() or process.poll() is not None, what)
    assert process.poll() is None, process.stdout.read()


def descendants(pid):
    """All processes below a process, with their titles."""
    listing = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listing.splitlines()]
    below, found = {pid}, {}
    for _ in rows:
        new = {int(child): title for child, parent, title in rows if int(parent) in below and int(child) not in below}
        if not new:
            break
        below |= new.keys()
        found |= new
    return found


def is_alive(pid):
    """Whether a process runs; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
