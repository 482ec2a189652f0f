"""Transferability scores: how well features separate the classes, computed without training."""
