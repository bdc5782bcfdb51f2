"""Pictures and tables made from a study alone."""
