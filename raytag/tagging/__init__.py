"""The jet tagger workload: GN2 on packed tracks."""
