"""No process escapes the account."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Adopts orphans and waits for them, so it gets a process of its own.
STOPWATCH = """
import sys
from pathlib import Path
from benchmarks.stopwatch import measure
folder = Path(sys.argv[1])
print(measure([sys.executable, "-c", sys.argv[2]], folder, folder / "log").cpu_seconds)
"""
BUSY = "import time\nwhile time.process_time() < 0.6: pass\n"
# as the raylet does, whose workers' time the kernel then adds to nobody's account
DEAF = f"""
import signal, subprocess, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", {BUSY!r}]).wait()
"""
DAEMON = f"import os, sys\nif os.fork() == 0:\n    os.setsid()\n    exec({BUSY!r})\n"


def measured(script, folder):
    command = [sys.executable, "-c", STOPWATCH, str(folder), script]
    return subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("script", [BUSY, DEAF, DAEMON], ids=["child", "child of the deaf", "daemon"])
def test_cpu_seconds_of_all_processes_are_counted(script, tmp_path):
    assert float(measured(script, tmp_path).stdout) >= 0.45


def test_a_command_that_fails_is_an_error(tmp_path):
    assert "ended with 3" in measured("raise SystemExit(3)", tmp_path).stderr
