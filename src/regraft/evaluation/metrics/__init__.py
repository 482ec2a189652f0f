"""Metrics by family: each file lists its metrics in `NAMES` and defines them in `ENTRIES`."""
