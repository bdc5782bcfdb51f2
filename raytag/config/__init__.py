"""Experiment files and search spaces: read once, checked at the edge, frozen ever after."""
