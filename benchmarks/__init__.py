"""Measurements of raytag against the ordinary way of doing the same work. Run from the repository's root."""
