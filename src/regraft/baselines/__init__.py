"""Baselines that a transferred network has to beat: simple methods on the raw examples. Each public file defines
one."""
