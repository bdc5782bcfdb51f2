"""How the user starts a program of this environment from the shell he is in."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

__all__ = ["program"]


def program(name: str) -> str:
    """Return a program's name if the shell finds this environment's one, else its path from the working directory."""
    own = Path(sys.executable).with_name(name)
    found = shutil.which(name)
    return name if found and Path(found) == own else os.path.relpath(own)
