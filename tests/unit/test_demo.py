"""What the demo refuses before it touches a database, how it keeps its books, and which runs it waits for."""

from __future__ import annotations

import datetime as dt

import pytest

from include.cli.waiting import Patience, going
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


def _runs(*states: str) -> list[dict[str, object]]:
    """Runs as Airflow's API lists them: newest first."""
    return [{"dag_run_id": f"run {-number}", "state": state} for number, state in enumerate(states)]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ((), []),
        (("failed",), []),
        (("success", "failed"), []),
        (("running",), ["run 0"]),
        (("queued", "running", "failed"), ["run -1", "run 0"]),
        (("failed", "running"), ["run -1"]),
    ],
)
def test_a_run_that_has_ended_is_not_waited_for(states: tuple[str, ...], expected: list[str]) -> None:
    assert going(_runs(*states)) == expected


def test_patience_does_not_end_while_the_dag_has_another_run() -> None:
    patience = Patience(0)
    assert not patience.ends(_runs("failed"), 59)
    assert not patience.ends(_runs("running", "failed"), 100)
    assert not patience.ends(_runs("queued"), 5000)
    assert not patience.ends(_runs("success"), 5059)
    assert patience.ends(_runs("success"), 5061)
    assert Patience(0).ends(_runs(), 61)
