"""Simulated jets in the GN2 layout: Pythia8 events, FastJet jets, a parametric tracker.

Pythia8 and FastJet are GPL and optional (``raytag[simulate]``): :mod:`generator` and :mod:`clustering` alone import
them, and only worker processes import those two.
"""

from raytag.data.simulate.settings import PROCESSES, Process, Settings

__all__ = ["PROCESSES", "Process", "Settings"]
