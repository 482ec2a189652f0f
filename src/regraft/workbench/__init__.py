"""The verbs: one file each. A verb takes and returns values; it neither prints nor parses, and knows no status code."""
