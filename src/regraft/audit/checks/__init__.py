"""The shelf of checks: one file each, which yields findings about what it sees of a session."""
