"""Where a result comes from: the code with its uncommitted changes, the packages, the machine, the seeds, the time.

Collected without importing the packages it names.
"""

from __future__ import annotations

import hashlib
import platform
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["CodeState", "Provenance", "code_state", "collect", "package_versions"]

_PACKAGE_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class CodeState:
    """The git state of a source folder.

    ``diff`` is the patch of its uncommitted changes, ``diff_digest`` the first 16 hex digits of the patch's SHA-256
    (none without a patch), ``untracked`` its files that git does not know. It is dirty if it has either.
    """

    commit: str
    is_dirty: bool
    diff_digest: str | None
    diff: str
    untracked: tuple[str, ...]


@dataclass(frozen=True)
class Provenance:
    """One command's origin. ``code`` is none outside a git checkout; ``started`` is ISO 8601 in UTC."""

    raytag: str
    code: CodeState | None
    packages: Mapping[str, str]
    python: str
    platform: str
    hostname: str
    command: str
    seeds: Mapping[str, int]
    started: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return asdict(self)


def collect(seeds: Mapping[str, int], command: Sequence[str] | None = None) -> Provenance:
    """Collect the provenance of this process; ``command`` is its command line unless another is given."""
    return Provenance(
        raytag=metadata.version("raytag"),
        code=code_state(),
        packages=package_versions(),
        python=platform.python_version(),
        platform=platform.platform(),
        hostname=socket.gethostname(),
        command=shlex.join(sys.orig_argv if command is None else command),
        seeds=dict(seeds),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def package_versions() -> dict[str, str]:
    """Return the installed versions of the packages that raytag declares, its optional ones included."""
    versions = {}
    for requirement in metadata.requires("raytag") or ():
        match = re.match(r"[\w.-]+", requirement)
        assert match, requirement
        try:
            versions[match[0]] = metadata.version(match[0])
        except metadata.PackageNotFoundError:
            continue
    return dict(sorted(versions.items()))


def code_state(folder: Path = _PACKAGE_FOLDER) -> CodeState | None:
    """Return the git state of a source folder; none if no checkout tracks it."""
    # an installed package may lie inside the checkout of something else, which does not track it
    if not _git(folder, "ls-files", "--", "."):
        return None
    commit = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    if not commit:
        return None
    diff = _git(folder, "diff", "--no-ext-diff", "--no-color", "--binary", "HEAD", "--", ".") or ""
    untracked = tuple((_git(folder, "ls-files", "--others", "--exclude-standard", "--", ".") or "").splitlines())
    return CodeState(
        commit=commit.strip(),
        is_dirty=bool(diff or untracked),
        diff_digest=hashlib.sha256(diff.encode()).hexdigest()[:16] if diff else None,
        diff=diff,
        untracked=untracked,
    )


def _git(folder: Path, *arguments: str) -> str | None:
    """Run git in a folder; none if there is no git or it refuses."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, errors="replace", check=False
        )
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None
