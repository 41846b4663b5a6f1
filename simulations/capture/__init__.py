"""Captures: rounds of a running daemon, or of a replay, kept in a file, decided again, and replayed as a workload."""
