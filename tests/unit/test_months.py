"""Which months are over."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from include.core import months
from include.core.contracts import TransformContract
from tests.support.transforms import SHOP

MAY = datetime(2026, 5, 1, tzinfo=timezone.utc)


def _whole(since: str, until: datetime) -> list[str]:
    return [f"{month:%Y-%m}" for month in months.whole(date.fromisoformat(since), until)]


def test_a_month_is_over_with_its_last_moment() -> None:
    assert _whole("2026-03-01", MAY) == ["2026-03", "2026-04"]
    assert _whole("2026-03-01", MAY - timedelta(microseconds=1)) == ["2026-03"]
    # the first of May in Berlin is still April where days begin in UTC
    assert _whole("2026-03-01", datetime(2026, 5, 1, tzinfo=timezone(timedelta(hours=2)))) == ["2026-03"]


def test_none_is_over_before_the_first_or_twice_at_the_turn_of_a_year() -> None:
    assert _whole("2026-05-01", MAY) == []
    assert _whole("2027-01-01", MAY) == []
    january = datetime(2027, 1, 1, tzinfo=timezone.utc)
    assert _whole("2026-11-01", january) == ["2026-11", "2026-12"]
    assert months.after(date(2024, 2, 1)) == date(2024, 3, 1)


def test_a_contract_names_the_first_day_of_a_month() -> None:
    said = SHOP.model_dump(exclude_unset=True)
    assert TransformContract.model_validate(said | {"closes_months_from": "2026-02-01"}).closes_months_from
    with pytest.raises(ValidationError, match="the first day of a month"):
        TransformContract.model_validate(said | {"closes_months_from": "2026-02-02"})
