"""Metrics, intervals, paired tests, calibration, unlike-input score."""
