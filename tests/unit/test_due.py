"""What a deadline and the schedules of the sources make of the calendar."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import islice
from typing import Any

import pytest

from include.core.contracts.common import Deadline, Schedule
from include.core.contracts.due import dues, end_before, starts

DAILY = {"cron": "0 0 * * *", "start": "2026-01-01"}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


def schedule(**fields: Any) -> Schedule:
    return Schedule.model_validate(DAILY | fields)


def due(
    deadline: dict[str, str], after: str, count: int, **schedules: Schedule
) -> list[tuple[str, dict[str, str]]]:
    """The next deadlines, each with what has to be there, as texts to the minute."""
    found = islice(dues(Deadline.model_validate(deadline), schedules, at(after)), count)
    return [
        (f"{one.at:%Y-%m-%dT%H:%M}", {name: f"{end:%Y-%m-%dT%H:%M}" for name, end in one.ends.items()})
        for one in found
    ]


def test_a_time_of_day_asks_for_the_interval_that_ended_last_before_it() -> None:
    shop, crm = schedule(), schedule(cron="0 * * * *")
    assert due({"at": "10:00 Europe/Berlin"}, "2026-03-28T09:00", 2, shop=shop, crm=crm) == [
        (
            "2026-03-29T08:00",
            {"shop": "2026-03-29T00:00", "crm": "2026-03-29T07:00"},
        ),  # summer time began that night
        ("2026-03-30T08:00", {"shop": "2026-03-30T00:00", "crm": "2026-03-30T07:00"}),
    ]


def test_what_ends_at_that_very_time_is_due_a_day_later() -> None:
    midnight = due({"at": "00:00"}, "2026-03-02T12:00", 1, shop=schedule())
    assert midnight == [("2026-03-03T00:00", {"shop": "2026-03-02T00:00"})]


def test_days_on_which_nothing_new_has_ended_have_none() -> None:
    weekdays = schedule(cron="0 2 * * 1-5")
    days = [when for when, _ in due({"at": "10:00"}, "2026-03-05T12:00", 3, shop=weekdays)]
    assert days == ["2026-03-06T10:00", "2026-03-09T10:00", "2026-03-10T10:00"]  # Friday, Monday, Tuesday


def test_before_the_first_interval_has_ended_nothing_is_due() -> None:
    shop = schedule(start="2026-03-10")
    assert end_before(shop, at("2026-03-10T23:59")) is None
    assert due({"at": "10:00"}, "2026-03-01T00:00", 1, shop=shop)[0][0] == "2026-03-11T10:00"
    assert due({"after_queueing": "1h"}, "2026-03-01T00:00", 1, shop=shop)[0][0] == "2026-03-11T01:00"


def test_a_run_of_a_schedule_is_due_so_long_after_its_interval() -> None:
    assert due({"after_queueing": "30m"}, "2026-03-02T00:30", 2, shop=schedule(cron="0 */12 * * *")) == [
        ("2026-03-02T12:30", {"shop": "2026-03-02T12:00"}),
        ("2026-03-03T00:30", {"shop": "2026-03-03T00:00"}),
    ]


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
def test_on_days_when_clocks_change_no_moment_is_its_own_past(day: str) -> None:
    """Each end lies before the moment that asked, and the next one after it, where an hour is skipped or repeated."""
    hourly = schedule(cron="*/30 * * * *", timezone="Europe/Berlin")
    moment = at(f"{day}T00:00") - timedelta(hours=3)
    while moment < at(f"{day}T06:00"):
        end = end_before(hourly, moment)
        assert end is not None and end < moment
        (one,) = islice(dues(Deadline.model_validate({"after_queueing": "1m"}), {"shop": hourly}, moment), 1)
        assert one.at > moment
        moment += timedelta(minutes=10)


def test_the_starts_of_an_interval_and_of_all_since() -> None:
    assert starts(schedule(), at("2026-03-02T00:00"), at("2026-03-04T05:00")) == [
        at("2026-03-03T00:00"), at("2026-03-02T00:00"), at("2026-03-01T00:00"),
    ]  # fmt: skip
