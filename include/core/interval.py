"""Closed-open intervals of time, and durations as people write them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"(\d+)\s*([smhdw])")


@dataclass(frozen=True)
class Interval:
    """`[start, end)`, both aware, in UTC. The first interval of a stream has no start."""

    start: datetime | None
    end: datetime

    def __post_init__(self) -> None:
        for moment in (self.start, self.end):
            if moment is not None and moment.tzinfo is None:
                raise ValueError(f"interval needs times with a zone, received {moment!r}")
        object.__setattr__(self, "end", self.end.astimezone(timezone.utc))
        if self.start is not None:
            object.__setattr__(self, "start", self.start.astimezone(timezone.utc))
            if self.start > self.end:
                raise ValueError(f"interval ends before it starts: [{self.start}, {self.end})")

    def __str__(self) -> str:
        start = self.start.isoformat() if self.start else "the beginning"
        return f"[{start}, {self.end.isoformat()})"


def parse_duration(text: str) -> timedelta:
    """`90s`, `30m`, `2h`, `1d 12h`, `2w` as a timedelta.

    :raises ValueError: the text is not such a duration.
    """
    pieces = _DURATION.findall(text)
    if not pieces or _DURATION.sub("", text).strip():
        raise ValueError(
            f"not a duration: {text!r} (allowed: numbers with s, m, h, d or w, such as '30m' or '1d 12h')"
        )
    return sum((timedelta(**{_UNITS[unit]: int(number)}) for number, unit in pieces), timedelta())


def show_duration(value: timedelta) -> str:
    """A duration as contracts write it, in its largest whole unit."""
    seconds = int(value.total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
