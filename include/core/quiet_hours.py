"""Hours in which a source is left alone, as contracts write them: `08:00-18:00`, `mon-fri 22:00-06:00`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = "|".join(_DAYS)
_HOURS = re.compile(rf"(?:({_DAY})(?:-({_DAY}))? )?([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
_WEEK = timedelta(days=7)


@dataclass(frozen=True)
class QuietHours:
    """From `start` to `end` on the clock of its zone, on the weekdays (Monday is 0) on which it starts.

    An end that is not after the start is on the next day, so that `00:00-00:00` is a whole day.
    """

    days: frozenset[int]
    start: time
    end: time

    def around(self, moment: datetime, zone: ZoneInfo) -> datetime | None:
        """The end, in UTC, of these hours when `moment` is within them."""
        today = moment.astimezone(zone).date()
        for day in (today - timedelta(days=1), today):
            if day.weekday() not in self.days:
                continue
            until = day if self.end > self.start else day + timedelta(days=1)
            start, end = (
                datetime.combine(date, clock, zone).astimezone(timezone.utc)
                for date, clock in ((day, self.start), (until, self.end))
            )
            if start <= moment < end:
                return end
        return None


def parse_quiet_hours(text: str) -> QuietHours:
    """`mon-fri 08:00-18:00`, `sun 00:00-06:00`, `22:00-06:00`.

    :raises ValueError: the text is not of that form.
    """
    match = _HOURS.fullmatch(text)
    if match is None:
        raise ValueError("hours such as 08:00-18:00, mon-fri 08:00-18:00 or sat 22:00-06:00")
    first, last, *clock = match.groups()
    a, b = (_DAYS.index(first), _DAYS.index(last or first)) if first else (0, 6)
    days = frozenset(day % 7 for day in range(a, (b if b >= a else b + 7) + 1))
    start, end = (time(int(hour), int(minute)) for hour, minute in (clock[:2], clock[2:]))
    return QuietHours(days, start, end)


def quiet_until(hours: Iterable[QuietHours], moment: datetime, zone: ZoneInfo) -> datetime | None:
    """When the quiet hours around an aware moment are over, in UTC; None when it is in none.

    Hours that follow each other without a gap count as one.

    :raises ValueError: they are never over.
    """
    known, until = tuple(hours), moment.astimezone(timezone.utc)
    while end := next((end for one in known if (end := one.around(until, zone))), None):
        until = end
        if until - moment > _WEEK + timedelta(days=1):
            raise ValueError("hours that leave some time of the week")
    return None if until == moment else until
