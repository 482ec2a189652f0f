"""The records and interfaces that entries of the shelves are. Read these first."""
