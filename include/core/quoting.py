"""SQL identifiers and literals in text that is handed to a library which takes no composed statements."""

from __future__ import annotations


def identifier(*path: str) -> str:
    """A name, or a dotted path of names, quoted as standard SQL quotes."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in path)


def literal(value: str) -> str:
    """A text, quoted as standard SQL quotes."""
    return "'" + value.replace("'", "''") + "'"
