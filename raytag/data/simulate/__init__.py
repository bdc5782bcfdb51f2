"""Simulated jets in the GN2 h5 layout: Pythia8, FastJet and a parametric tracker."""
