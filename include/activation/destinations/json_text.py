"""The members of a record's JSON as they are written: a number keeps its digits, a nested object its spelling."""

from __future__ import annotations

import json
from collections.abc import Iterator

_SCAN = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
_BETWEEN = " \n\r\t,:"


def members(body: str) -> Iterator[tuple[str, str]]:
    """Name and JSON text of each member of an object."""
    at = body.index("{") + 1
    while True:
        at = _past(body, at)
        if body[at] == "}":
            return
        name, at = _SCAN(body, at)
        begin = _past(body, at)
        _, at = _SCAN(body, begin)
        yield name, body[begin:at]


def _past(text: str, at: int) -> int:
    while text[at] in _BETWEEN:
        at += 1
    return at
