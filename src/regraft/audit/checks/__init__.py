"""The shelf of checks: each file holds several, functions that yield findings about what they see of a session."""
