"""The version of this package; pyproject reads it here."""

VERSION = "0.1.0"
