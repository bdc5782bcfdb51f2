"""The entry point: a complete data folder, made if it is not there. Loads no generator until one is needed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from raytag.data.simulate.settings import Settings
from raytag.data.simulate.workspace import Workspace
from raytag.errors import RaytagError

__all__ = ["simulate"]

# Import names of what the extra raytag[simulate] installs.
GENERATORS = ("pythia8mc", "fastjet", "awkward")


def simulate(folder: Path, settings: Settings, num_workers: int | None = None) -> bool:
    """Make a data folder; go on where an interrupted run stopped.

    The files hold the same bytes for the same settings, whatever the number of workers and of interruptions.

    Parameters
    ----------
    folder
        Gets the three h5 files, norm_dict.yaml and class_dict.yaml; ``.parts`` in it holds the finished chunks.
    settings
        What to simulate.
    num_workers
        Processes; default: one for each core that this process may use.

    Returns
    -------
    bool
        False if the folder was complete already.

    Raises
    ------
    RaytagError
        If the folder holds something else, Pythia8 or FastJet is missing, or a worker died.
    KeyboardInterrupt
        After Ctrl-C, with a text that says how to go on.
    """
    workspace = Workspace(folder, settings)
    if workspace.is_complete():
        workspace.tidy()
        return False
    _require_generators()
    from raytag.data.simulate.production import produce  # noqa: PLC0415  (loads the packages just looked for)

    produce(workspace, num_workers)
    return True


def _require_generators() -> None:
    missing = [package for package in GENERATORS if find_spec(package) is None]
    if missing:
        raise RaytagError(
            f"{' and '.join(missing)} not installed, which raytag data simulate needs (GPL, optional). "
            'Install with: pip install "raytag[simulate]"'
        )
