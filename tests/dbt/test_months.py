"""A closed month keeps its figures, whatever becomes of its orders, until it is to be built again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.dbt.conftest import Warehouse

FIGURES = "orders, customers, gross_revenue_eur, refunded_eur, net_revenue_eur"


@pytest.fixture
def months(candidate: Warehouse) -> Iterator[Callable[[str], list[tuple[Any, ...]]]]:
    """`months(statement)` changes the ledger, builds the mart, publishes it, and returns its rows."""
    candidate.execute("create schema marts; grant usage on schema marts to millrace_transformer")

    def build(statement: str) -> list[tuple[Any, ...]]:
        candidate.execute(statement)
        built = candidate.dbt("run", "--target", "prod", "--select", "fct_monthly_revenue")
        assert built.returncode == 0, built.stdout
        candidate.execute(
            "drop table if exists marts.fct_monthly_revenue;"
            "create table marts.fct_monthly_revenue as table marts_candidate.fct_monthly_revenue;"
            "grant select on marts.fct_monthly_revenue to millrace_transformer;"
            "update ledger.month set closed_at = now()"
        )
        return candidate.query(
            f"select to_char(month, 'MM'), version, late_revenue_eur, {FIGURES} from marts.fct_monthly_revenue order by 1"
        )

    yield build
    candidate.execute("drop schema marts cascade; delete from ledger.month")
    assert candidate.dbt("run", "--target", "prod", "--select", "fct_monthly_revenue").returncode == 0


def test_a_closed_month_keeps_its_figures_until_it_is_built_again(
    candidate: Warehouse, changed: Callable[[str, str], None], months: Callable[[str], list[tuple[Any, ...]]]
) -> None:
    mark = (
        "insert into ledger.month (transform, month, version, why) values ('shop', '2026-{}-01', {}, 'test')"
    )
    august, september = months(f"{mark.format('08', 1)}; {mark.format('09', 1)}")
    assert [row[:3] for row in (august, september)] == [("08", 1, 0), ("09", 1, 0)]
    same = (
        "select sum(orders), sum(gross_revenue_eur), sum(net_revenue_eur) from marts_candidate.fct_daily_revenue"
        " where to_char(revenue_date, 'YYYY-MM') = '2026-09'"
    )
    assert candidate.query(same) == [(september[3], september[5], september[7])]

    changed(
        "marts_candidate.fct_orders",
        "update marts_candidate.fct_orders"
        " set gross_revenue_eur = gross_revenue_eur + 1, net_revenue_eur = net_revenue_eur + 1"
        " where is_recognised and placed_on >= '2026-08-01'",
    )
    later = months(mark.format("10", 1))
    assert [row[3:] for row in later[:2]] == [august[3:], september[3:]]
    assert [row[2] for row in later] == [august[3], september[3], 0], (
        "what late changes would add: a euro an order"
    )

    again = months(mark.format("09", 2))
    assert [row[:3] for row in again] == [("08", 1, august[3]), ("09", 2, 0), ("10", 1, 0)]
    assert again[1][7] == september[7] + september[3]
    assert again[0][3:] == august[3:]
