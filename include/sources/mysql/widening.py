"""Which type of MariaDB or MySQL holds all values of another, by the names that `show columns` gives them.

Limits are from https://mariadb.com/kb/en/data-types/; sizes of text are in bytes, and a character has at most four.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TYPE = re.compile(r"([a-z0-9]+)(?:\((.*)\))?((?: [a-z]+)*)", re.DOTALL)
_LABEL = re.compile(r"'((?:[^']|'')*)'")
_BITS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
#: Digits of the type that each has in raw (types.py), signed and unsigned.
_DIGITS = {"tinyint": (5, 5), "smallint": (5, 10), "mediumint": (10, 10), "int": (10, 19), "bigint": (19, 20)}
_BYTES = {"tiny": 255, "": 65_535, "medium": 16_777_215, "long": 4_294_967_295}
_TEXTS = {f"{size}text": length for size, length in _BYTES.items()}
_BLOBS = {f"{size}blob": length for size, length in _BYTES.items()}
_MOMENTS = ("datetime", "timestamp", "time")
_CHARACTER_BYTES = 4


@dataclass(frozen=True)
class _Type:
    name: str
    given: str
    rest: str

    @property
    def size(self) -> int:
        return int(self.given or 0)

    @property
    def range(self) -> tuple[int, int] | None:
        """The least and the greatest whole number that it holds; None for what holds no numbers exactly."""
        if self.name in _BITS:
            bits = _BITS[self.name] - (not self.unsigned)
            return (0 if self.unsigned else -(2**bits), 2**bits - 1)
        if self.name == "decimal":
            most = 10 ** (int(self.given.partition(",")[0] or 10) - self.scale) - 1
            return (0 if self.unsigned else -most, most)
        return None

    @property
    def unsigned(self) -> bool:
        return "unsigned" in self.rest

    @property
    def scale(self) -> int:
        """Digits after the point."""
        return int(self.given.partition(",")[2] or 0) if self.name == "decimal" else 0

    @property
    def labels(self) -> set[str]:
        return set(_LABEL.findall(self.given))


def type_change(declared: str, now: str) -> str:
    """What kind of schema change it is, as `include.core.changes` calls it; empty when both hold the same values."""
    if declared == now:  # also of a type that nothing is known of
        return ""
    old, new = _parse(declared), _parse(now)
    if old is None or new is None:
        return "retyped"
    wider, narrower = _holds(new, old), _holds(old, new)
    if wider and narrower:
        return ""
    if wider:
        return "widened"
    # As in PostgreSQL: raw keeps its digits after the point, so that a number would look like another.
    return "narrowed" if narrower and old.scale == new.scale else "retyped"


def _holds(wide: _Type, narrow: _Type) -> bool:
    if wide.range and narrow.range:
        if wide.name == "decimal" != narrow.name:
            # for raw, whose type holds as many digits as its widest number has
            return (
                wide.unsigned <= narrow.unsigned
                and wide.range[1] >= 10 ** _DIGITS[narrow.name][narrow.unsigned] - 1
            )
        within = wide.range[0] <= narrow.range[0] and narrow.range[1] <= wide.range[1]
        return within and wide.scale >= narrow.scale and (wide.name == "decimal" or narrow.name != "decimal")
    if wide.name != narrow.name:
        plain = wide.name == "double" and narrow.name == "float" and wide.given == wide.rest == ""
        return plain or _holds_text(wide, narrow)
    if wide.name in ("enum", "set"):
        return wide.labels >= narrow.labels
    if wide.name in (*_MOMENTS, "char", "varchar", "varbinary"):
        return wide.size >= narrow.size
    return wide == narrow or wide.name in _TEXTS or wide.name in _BLOBS


def _holds_text(wide: _Type, narrow: _Type) -> bool:
    """Of different names. What a `char` or `binary` holds the others hold too, and not the other way round."""
    if wide.name == "varchar":
        return narrow.name == "char" and wide.size >= narrow.size
    if wide.name == "varbinary":
        return narrow.name == "binary" and wide.size >= narrow.size
    if wide.name in _TEXTS:
        bytes_needed = _TEXTS.get(narrow.name, narrow.size * _CHARACTER_BYTES)
        return narrow.name in ("char", "varchar", *_TEXTS) and _TEXTS[wide.name] >= bytes_needed
    if wide.name in _BLOBS:
        bytes_needed = _BLOBS.get(narrow.name, narrow.size)
        return narrow.name in ("binary", "varbinary", *_BLOBS) and _BLOBS[wide.name] >= bytes_needed
    return False


def _parse(declared: str) -> _Type | None:
    found = _TYPE.fullmatch(declared)
    return _Type(found[1], found[2] or "", found[3].strip()) if found else None
