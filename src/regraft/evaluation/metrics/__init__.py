"""The shelf of metrics: each file is a family, which lists its metrics in `NAMES` and holds them in `ENTRIES`."""
