"""Measurements: `python -m benchmarks.<name> [--quick]` prints a table, then one line of JSON."""
