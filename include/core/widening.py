"""Which type of raw takes the values of another, by the names that PostgreSQL gives them (`format_type`).

Raw's types are PostgreSQL's, whatever the source is; a reader of another kind of system names its own types in them. Which
types hold which is from https://www.postgresql.org/docs/current/datatype.html.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TYPE = re.compile(r"([a-z][a-z ]*?)(?:\((\d+)(?:,(-?\d+))?\))?((?: [a-z]+)*)((?:\[\])?)")
#: Digits of the largest value of each whole-number type, the narrowest first.
_DIGITS = {"smallint": 5, "integer": 10, "bigint": 19}
#: Types whose number in parentheses is a limit that values may stay below without looking different.
_LIMITED = {
    "character varying": "text",
    "bit varying": "",
    "timestamp without time zone": "",
    "timestamp with time zone": "",
    "time without time zone": "",
    "time with time zone": "",
    "interval": "",
}


@dataclass(frozen=True)
class _Type:
    kind: str
    limit: int | None
    scale: int
    array: bool

    @property
    def whole(self) -> int:
        """Digits before the point of a numeric."""
        return (self.limit or 0) - self.scale


def widens(old: str, new: str) -> bool:
    """Whether `alter column … type new` keeps every value that `old` can hold, and turns it into what the same statement
    makes of it in the source."""
    a, b = _parse(old), _parse(new)
    if a is None or b is None or a == b or a.array != b.array:
        return False
    if a.kind == "numeric" == b.kind:
        if a.limit is None or b.limit is None:
            return b.limit is None
        return b.whole >= a.whole and b.scale >= a.scale
    if a.kind == "character" == b.kind:
        return (b.limit or 1) > (a.limit or 1)
    return (a.kind, b.kind) == ("real", "double precision") or _contains(b, a)


def keeps(wide: str, narrow: str) -> bool:
    """Whether a column of type `wide` holds every value of type `narrow` so that it reads the same, as text too."""
    a, b = _parse(wide), _parse(narrow)
    if wide == narrow:
        return True
    if a is None or b is None or a.array != b.array:
        return False
    if a.kind == "numeric" == b.kind and a.limit is not None:
        return b.limit is not None and a.scale == b.scale and a.limit >= b.limit
    return (a.kind == "numeric" == b.kind) or (_contains(a, b) and not (a.kind == "numeric" and a.scale))


def settle(held: str, coming: str) -> str | None:
    """The type that a column of raw has to have next, when it has type `held` and values of type `coming` arrive.

    None: neither takes the other's values.
    """
    if keeps(held, coming):
        return held
    return coming if widens(held, coming) else None


def _contains(wide: _Type, narrow: _Type) -> bool:
    if narrow.kind in _DIGITS:
        if wide.kind == "numeric":
            return wide.limit is None or wide.whole >= _DIGITS[narrow.kind]
        return _DIGITS.get(wide.kind, 0) > _DIGITS[narrow.kind]
    if narrow.kind in _LIMITED:
        if wide.kind != narrow.kind:
            return wide.kind == _LIMITED[narrow.kind]
        return wide.limit is None or (narrow.limit is not None and wide.limit > narrow.limit)
    return False


def _parse(name: str) -> _Type | None:
    """None for a type whose name says nothing about what it holds."""
    found = _TYPE.fullmatch(name)
    if found is None:
        return None
    kind, limit, scale, rest, array = found.groups()
    return _Type(kind + rest, int(limit) if limit else None, int(scale or 0), bool(array))
