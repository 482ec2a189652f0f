"""Audit of a data set: a collection of checks, each of which yields findings."""
