"""The checks of an audit. Each file defines several: functions that yield findings about a session's data."""
