"""The shelf of metrics: each file defines `ENTRY`."""
