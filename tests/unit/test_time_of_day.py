"""A time of day in a zone, and when it comes next."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from pydantic import ValidationError

from include.core.contracts.common import Deadline
from include.core.time_of_day import next_time, parse_time_of_day, time_before


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("text", "after", "comes"),
    [
        ("10:00", "2026-03-02T02:00", "2026-03-02T10:00"),
        ("10:00 UTC", "2026-03-02T10:00", "2026-03-03T10:00"),  # what is queued at 10 has the whole day
        ("10:00 Europe/Berlin", "2026-03-02T02:00", "2026-03-02T09:00"),
        ("10:00 Europe/Berlin", "2026-07-02T02:00", "2026-07-02T08:00"),
        ("00:30 Asia/Kolkata", "2026-07-02T18:59", "2026-07-02T19:00"),  # their next day has begun
        ("23:00 America/Los_Angeles", "2026-01-02T03:00", "2026-01-02T07:00"),
        ("02:30 Europe/Berlin", "2026-03-28T12:00", "2026-03-29T01:30"),  # clocks go from 2 to 3
        ("02:30 Europe/Berlin", "2026-10-24T12:00", "2026-10-25T00:30"),  # and show it twice
    ],
)
def test_it_comes_next(text: str, after: str, comes: str) -> None:
    assert next_time(text, at(after)) == at(comes)


@pytest.mark.parametrize("text", ["10", "24:00", "10:60 UTC", "10:00 Berlin", "10:00 ../etc", "10:00:00", ""])
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a time of day and its zone"):
        parse_time_of_day(text)
    with pytest.raises(ValidationError):
        Deadline(at=text)


def test_a_deadline_is_one_of_two() -> None:
    assert Deadline.model_validate({"at": "10:00 Europe/Berlin"}).at
    for given in ({}, {"at": "10:00", "after_queueing": "1h"}):
        with pytest.raises(ValidationError, match="either after_queueing"):
            Deadline.model_validate(given)


@pytest.mark.parametrize(
    ("text", "before", "came"),
    [
        ("10:00", "2026-03-02T10:00", "2026-03-01T10:00"),
        ("02:30 Europe/Berlin", "2026-03-29T12:00", "2026-03-29T01:30"),
        ("02:30 Europe/Berlin", "2026-10-25T12:00", "2026-10-25T00:30"),
        ("00:30 Asia/Kolkata", "2026-07-02T19:01", "2026-07-02T19:00"),
    ],
)
def test_it_came_last(text: str, before: str, came: str) -> None:
    assert time_before(text, at(before)) == at(came)
