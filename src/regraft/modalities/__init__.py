"""Modalities: one folder per kind of data. No other code depends on pixels, words or samples."""
