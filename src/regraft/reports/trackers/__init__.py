"""Trackers: a file each (`contracts/tracker.py`)."""
