"""What the demo refuses before it touches a database, and how it keeps its books."""

from __future__ import annotations

import datetime as dt

import pytest

from include.core.errors import TerminalError
from include.demo.books import Books
from include.demo.seed import seed
from include.demo.traffic import TrafficReport, generate

NOWHERE = "host=127.0.0.1 port=1 user=nobody connect_timeout=1"


@pytest.mark.parametrize("scale", [0, -1, 101])
def test_a_scale_out_of_range_is_refused_with_the_range(scale: int) -> None:
    with pytest.raises(TerminalError, match="1 to 100") as refused:
        seed(NOWHERE, until=dt.date(2026, 1, 1), scale=scale)
    assert str(scale) in str(refused.value)


@pytest.mark.parametrize(("transactions", "workers"), [(0, 1), (1, 0)])
def test_traffic_by_nobody_is_refused(transactions: int, workers: int) -> None:
    with pytest.raises(TerminalError, match="1 or more"):
        generate(NOWHERE, transactions=transactions, workers=workers)


def test_books_add_up_and_leave_out_tables_without_changes() -> None:
    report = TrafficReport()
    first, second = Books(), Books()
    first.inserts.update(orders=1, order_items=3)
    second.inserts.update(orders=2, refunds=0)
    second.deletes.update(order_items=1)
    report.books.add(first)
    report.books.add(second)
    assert report.inserts == {"order_items": 3, "orders": 3}
    assert report.deletes == {"order_items": 1}
    assert report.updates == {}
