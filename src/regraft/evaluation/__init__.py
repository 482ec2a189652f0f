"""Metrics by family, intervals, paired tests, calibration, decision thresholds, out-of-distribution score."""
