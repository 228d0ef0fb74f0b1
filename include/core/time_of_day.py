"""A time of day in a zone, as people agree on it: 10:00 Europe/Berlin."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

_FORM = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?: +(\S+))?")


def parse_time_of_day(text: str) -> tuple[time, ZoneInfo]:
    """:raises ValueError: it is none; says what is one."""
    found = _FORM.fullmatch(text.strip())
    try:
        if found is None:
            raise ValueError(text)
        return time(int(found[1]), int(found[2])), ZoneInfo(found[3] or "UTC")
    except (ValueError, KeyError, OSError):
        raise ValueError(
            "a time of day and its zone, such as 10:00 Europe/Berlin; UTC when no zone is named"
        ) from None


def next_time(text: str, after: datetime) -> datetime:
    """The next moment after this one at which clocks there show that time, in UTC.

    Where clocks are set forward past it, it is as long after midnight as on other days; where they show it twice, the first.
    """
    return min(moment for moment in _around(text, after) if moment > after)


def time_before(text: str, before: datetime) -> datetime:
    """The last such moment before this one."""
    return max(moment for moment in _around(text, before) if moment < before)


def _around(text: str, moment: datetime) -> list[datetime]:
    at, zone = parse_time_of_day(text)
    day = moment.astimezone(zone).date()
    return [_on(day + timedelta(days=days), at, zone) for days in (-1, 0, 1)]


def _on(day: date, at: time, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, at, zone).astimezone(timezone.utc)
