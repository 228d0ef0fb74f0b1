"""Months of a calendar in UTC, each by its first day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timezone


def after(month: date) -> date:
    """The month that follows."""
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def whole(since: date, until: datetime) -> Iterator[date]:
    """The months from `since` on that are over at `until`: all their days are in `[…, until)`."""
    month = since.replace(day=1)
    while datetime.combine(after(month), time.min, timezone.utc) <= until:
        yield month
        month = after(month)
