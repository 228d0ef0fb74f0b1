"""Quiet hours: how they are written, and when they are over."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from include.core.quiet_hours import parse_quiet_hours, quiet_until

BERLIN = ZoneInfo("Europe/Berlin")
#: 2026-11-20 is a Friday; Berlin is an hour ahead of UTC then, and two in summer.
CASES = [
    (("08:00-18:00",), "2026-11-20T06:59Z", None),
    (("08:00-18:00",), "2026-11-20T07:00Z", "2026-11-20T17:00Z"),
    (("08:00-18:00",), "2026-11-20T17:00Z", None),
    (("08:00-18:00",), "2026-07-20T06:00Z", "2026-07-20T16:00Z"),
    (("mon-fri 08:00-18:00",), "2026-11-21T10:00Z", None),
    (("sat-sun 08:00-18:00",), "2026-11-21T10:00Z", "2026-11-21T17:00Z"),
    (("fri 22:00-06:00",), "2026-11-21T04:00Z", "2026-11-21T05:00Z"),  # it began on Friday
    (("sat 22:00-06:00",), "2026-11-21T04:00Z", None),
    (("fri-mon 00:00-00:00",), "2026-11-20T12:00Z", "2026-11-23T23:00Z"),  # whole days, over the weekend
    (("08:00-12:00", "12:00-18:00", "17:00-19:00"), "2026-11-20T08:00Z", "2026-11-20T18:00Z"),
    (("23:00-05:00",), "2026-10-25T00:30Z", "2026-10-25T04:00Z"),  # a night of 25 hours
    ((), "2026-11-20T12:00Z", None),
]


@pytest.mark.parametrize(("hours", "moment", "expected"), CASES)
def test_the_end_of_the_quiet_hours_around_a_moment(
    hours: tuple[str, ...], moment: str, expected: str | None
) -> None:
    until = quiet_until(
        map(parse_quiet_hours, hours), datetime.fromisoformat(moment.replace("Z", "+00:00")), BERLIN
    )
    assert until == (datetime.fromisoformat(expected.replace("Z", "+00:00")) if expected else None)


@pytest.mark.parametrize(
    "text", ["8-18", "08:00", "8:00-18:00", "25:00-26:00", "08:00-24:00", "Mo 08:00-18:00", "", "mon-fri"]
)
def test_what_is_no_hours_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="hours such as"):
        parse_quiet_hours(text)


def test_hours_that_are_never_over_are_refused() -> None:
    hours = [parse_quiet_hours("mon-thu 00:00-00:00"), parse_quiet_hours("fri-sun 00:00-00:00")]
    with pytest.raises(ValueError, match="some time of the week"):
        quiet_until(hours, datetime.fromisoformat("2026-11-20T12:00+00:00"), BERLIN)
