"""Control limits by hand: what they are made of, and what they leave out."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from random import Random
from zoneinfo import ZoneInfo

import pytest

from include.core import chart
from include.core.control import NEEDED, Judgement, Point, judge, usable

UTC = timezone.utc
MONDAY = datetime(2026, 6, 1, tzinfo=UTC)


def days(values: list[float], first: datetime = MONDAY, state: str = "in", sample: int = 1000) -> list[Point]:
    return [Point(first + timedelta(days=n), value, sample, 0.0, state) for n, value in enumerate(values)]


def rows(past: list[Point], value: float, at: datetime | None = None) -> Judgement:
    return judge("rows", past, at or past[-1].at + timedelta(days=1), value, int(value), zone=UTC)


def noisy(count: int, seed: int = 1, level: float = 1000) -> list[float]:
    chance = Random(seed)
    return [level * math.exp(chance.gauss(0, 0.05)) for _ in range(count)]


def test_it_is_quiet_until_there_is_enough_history() -> None:
    assert rows(days(noisy(NEEDED - 1)), 1_000_000) == Judgement("quiet", NEEDED - 1)
    assert rows(days(noisy(NEEDED)), 1_000_000).state == "out"


@pytest.mark.parametrize(
    ("value", "state"), [(1000, "in"), (900, "in"), (1200, "in"), (500, "out"), (2000, "out"), (0, "out")]
)
def test_a_volume_within_and_beyond(value: float, state: str) -> None:
    found = rows(days(noisy(60)), value)
    assert found.state == state
    assert found.low is not None and found.high is not None
    assert (found.low <= value <= found.high) == (state == "in")


def test_the_point_under_test_and_outliers_of_the_past_do_not_widen_the_limits() -> None:
    values = noisy(60)
    plain = rows(days(values), 1000)
    assert rows(days(values), 50_000).high == plain.high
    values[20:24] = [40_000] * 4  # that nobody has noticed
    found = rows(days(values), 3000)
    assert found.state == "out"
    assert found.high is not None and plain.high is not None and found.high < 1.5 * plain.high


def test_a_weekday_is_compared_with_itself() -> None:
    past = [Point(p.at, p.value * (0.4 if p.at.weekday() >= 5 else 1), p.sample) for p in days(noisy(56))]
    saturday, tuesday = datetime(2026, 8, 1, tzinfo=UTC), datetime(2026, 7, 28, tzinfo=UTC)
    assert saturday.weekday() == 5 and tuesday.weekday() == 1
    on_saturday = datetime(2026, 8, 8, tzinfo=UTC)
    assert rows(past, 400, on_saturday).state == "in"
    assert rows(past, 1000, on_saturday).state == "out"
    assert rows(past, 400, tuesday).state == "out"
    assert rows(past, 400, on_saturday).compared == "8 Saturdays"


def test_before_a_weekday_was_seen_often_all_that_was_seen_is_ordinary() -> None:
    past = [
        Point(p.at, p.value * (0.4 if p.at.weekday() >= 5 else 1), p.sample) for p in days(noisy(NEEDED + 4))
    ]
    saturday = datetime(2026, 6, 20, tzinfo=UTC)
    assert rows(past, 400, saturday).state == "in"
    assert rows(past, 20_000, saturday).state == "out"


def test_an_end_of_a_month_may_be_what_ends_of_months_were() -> None:
    def level(at: datetime) -> float:
        return 2.5 if (at + timedelta(days=1)).day == 1 else 1.0

    past = [Point(p.at, p.value * level(p.at), p.sample) for p in days(noisy(150))]  # to the end of October
    end, middle = datetime(2026, 11, 30, tzinfo=UTC), datetime(2026, 11, 18, tzinfo=UTC)
    assert rows(past, 2500, end).state == "in"
    assert rows(past, 1000, end).state == "in"  # nothing special either
    assert rows(past, 2500, middle).state == "out"
    assert rows(past, 9000, end).state == "out"
    unseen = [p for p in past if level(p.at) == 1.0]
    wide, narrow = rows(unseen, 1000, end), rows(unseen, 1000, middle)
    assert wide.high is not None and narrow.high is not None and wide.high > 1.3 * narrow.high


def test_days_and_hours_are_those_of_the_zone() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    # midnight there, summer and winter: another hour in UTC
    past = [
        Point(datetime(2026, 9, 25, tzinfo=berlin) + timedelta(days=n), v, 1000)
        for n, v in enumerate(noisy(56))
    ]
    at = datetime(2026, 11, 20, tzinfo=berlin)
    found = judge("rows", past, at.astimezone(UTC), 1000, 1000, zone=berlin)
    assert found.compared.endswith("Fridays")
    assert "any day" in judge("rows", past, at, 1000, 1000, zone=UTC).compared


def test_what_was_out_and_what_is_left_out_is_no_history() -> None:
    values = noisy(40)
    past = days(values)
    out = [
        Point(p.at, 90_000, 1000, 0.0, state)
        for p, state in zip(past[20:30], ["out", "left_out"] * 5, strict=True)
    ]
    assert usable(past[:20] + out + past[30:]) == past[:20] + past[30:]


def test_a_level_that_has_lasted_is_the_new_one() -> None:
    past = days(noisy(40))
    shifted = days(noisy(NEEDED, level=3000), past[-1].at + timedelta(days=1), "out")
    assert rows(past + shifted[:-1], 3000).state == "out"
    assert rows(past + shifted, 3000).state == "in"
    assert rows(past + shifted, 1000).state == "out"


def test_from_a_point_that_is_called_normal_on_there_is_a_new_level() -> None:
    past = days(noisy(40))
    accepted = [Point(past[-1].at + timedelta(days=1), 3000, 1000, 0.0, "normal")]
    assert rows(past + accepted, 3000) == Judgement("quiet", 1)


def test_a_share_of_few_rows_varies_more_than_one_of_many() -> None:
    def nulls(sample: int, share: float) -> str:
        past = days([0.0] * 40, sample=sample)
        return judge("nulls", past, past[-1].at + timedelta(days=1), share, sample, zone=UTC).state

    assert nulls(20, 0.05) == "in"
    assert nulls(100_000, 0.05) == "out"
    assert nulls(100_000, 0.0002) == "in"  # nobody wants to hear of it


def test_a_mean_is_judged_by_the_spread_of_its_rows() -> None:
    past = [Point(p.at, 50.0, 400, 10.0) for p in days([0.0] * 40)]
    at = past[-1].at + timedelta(days=1)

    def mean(value: float, sample: int) -> str:
        return judge("typical", past, at, value, sample, zone=UTC, judged=20).state

    assert (mean(51, 400), mean(55, 400)) == ("in", "out")
    assert mean(55, 9) == "in"
    constant = [Point(p.at, 7.0, 400, 0.0) for p in past]
    assert judge("typical", constant, at, 7.0, 400, zone=UTC).state == "in"
    assert judge("typical", constant, at, 8.0, 400, zone=UTC).state == "out"


def test_more_figures_have_wider_limits_each() -> None:
    past = days([v * w for v, w in zip(noisy(60), noisy(60, 2, 1), strict=True)])
    few, many = (
        judge("rows", past, past[-1].at + timedelta(days=1), 1000, 1000, zone=UTC, judged=n)
        for n in (1, 1000)
    )
    assert few.high is not None and many.high is not None and few.high < many.high


def test_a_trend_is_no_alarm() -> None:
    past = days([1000 * 1.01**n for n in range(80)])
    assert rows(past, 1000 * 1.01**80).state == "in"


def test_charts() -> None:
    assert chart.line([1, 2, 3, 4], 8) == "▁▂▃▄ █"
    assert chart.line([5, 5], 5) == "▁▁ ▁"
    assert chart.place(5, 0, 10, 9) == "···│·●│··"
    assert chart.place(-100, 0, 10, 9) == "●··│··│··"
    assert chart.place(100, 0, 10, 9) == "···│··│·●"
    assert chart.place(1, None, None) == ""
    assert chart.place(3, 3, 3, 9) == "···●··│··"
    assert [chart.shown(*one) for one in (
        ("nulls", 0.0312, ""), ("rows", 12345.0, ""), ("typical", 0.1234567, ""), ("typical", 93600.0, "seconds"),
    )] == ["3.12%", "12,345", "0.1235", "26.0 h"]  # fmt: skip
    assert chart.words("typical", "note", "characters") == "typical length of note"
    assert chart.words("rows", "", "") == "rows"
