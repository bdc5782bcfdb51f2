"""An environment with the real Salt: what the benchmark imports of it, beside the torch that raytag runs on.

salt-ml pins a torch of its own, which on Linux is a CUDA build of several GB, and pulls in plotting, logging and export
packages that training does not import. So it is installed without its dependencies, and those it imports are named.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

__all__ = ["salt_python"]

# --no-deps: the versions that salt-ml 0.13.0 pins
SALT = ("salt-ml==0.13.0", "atlas-ftag-tools==0.3.3")
IMPORTED_BY_SALT = ("filelock", "h5py", "hdf5plugin", "lightning==2.6.1", "numpy", "pandas", "pyyaml", "scipy", "tqdm")


def salt_python(folder: Path) -> Path:
    """Return the Python of Salt's environment in a folder, which is made if it is not there: about a minute."""
    python = folder / "bin" / "python"
    done = folder / "salt-is-installed"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet"]
        same_torch = f"torch=={torch.__version__.partition('+')[0]}"
        subprocess.run([*pip, same_torch, *IMPORTED_BY_SALT], check=True)
        subprocess.run([*pip, "--no-deps", *SALT], check=True)
        done.touch()
    return python
