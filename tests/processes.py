"""Processes of a command under test: which there are, which live, and waiting for what they do."""

import subprocess
import time
from pathlib import Path

PATIENCE_SECONDS = 120


def wait_until(condition, what):
    """Wait for a condition; fail with what was waited for."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited too long for {what}"
        time.sleep(0.05)


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
