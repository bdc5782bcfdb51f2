"""docs/performance.md: every benchmark writes the lines between its own two marks, and says on what it ran."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from raytag.provenance import code_state, package_versions

__all__ = ["machine", "spread", "write_block"]

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
END = "<!-- end -->\n"


def write_block(command: str, text: str) -> None:
    """Put a benchmark's figures on the page, between the mark that names the command and the end that follows it."""
    begin = f"<!-- {command} -->\n"
    page = PAGE.read_text()
    before, _, rest = page.partition(begin)
    _, end, after = rest.partition(END)
    assert end, f"{PAGE} lacks the lines between which {command} puts its figures"
    PAGE.write_text(f"{before}{begin}\n{text}\n{END}{after}")


def machine(packages: Sequence[str]) -> str:
    """Return the date, the machine, these packages' versions and the commit in one line."""
    versions, code = package_versions(), code_state()
    named = ", ".join(f"{name} {versions[name]}" for name in packages)
    commit = f"raytag {code.commit[:10]}{' with uncommitted changes' * code.is_dirty}" if code else "raytag"
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {len(os.sched_getaffinity(0))} cores of {_cpu_model()}, Python "
        f"{platform.python_version()}, {named}, {commit}."
    )


def spread(values: Iterable[float], form: str) -> str:
    """Return the median, and the smallest and the largest in brackets."""
    ordered = sorted(values)
    return f"{median(ordered):{form}} ({ordered[0]:{form}} to {ordered[-1]:{form}})"


def _cpu_model() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()
