"""The commands, one file each. A command takes and returns values; it does not print or parse, and has no exit
codes."""
