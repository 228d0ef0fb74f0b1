"""What of reverse ETL can be decided without a service."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

import pytest

from include.activation import Backoff, SyncReport
from include.activation.destinations.http_client import base_url, retry_after
from include.activation.destinations.http_read import same
from include.activation.pace import Pace
from include.activation.records import Record
from include.core.connection import Connection
from include.core.contracts import SyncContract, load_all
from include.core.contracts.common import parse_rate
from include.core.errors import BooksDoNotBalance, ContractError

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
REPORT = SyncReport(
    sync="contacts",
    run_id="test",
    sync_run_id=1,
    model_version="v1",
    status="delivered",
    read=100,
    unchanged=80,
    creates=12,
    updates=6,
    delivered=15,
    rejected=4,
    held=2,
    unsent=1,
    deletes=6,
    deletes_held=1,
    deleted=3,
    deletes_rejected=2,
    deletes_unsent=1,
    seconds=0.1,
)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("7", 7.0),
        ("0", 0.0),
        ("-3", 0.0),
        ("soon", None),
        ("Sun, 01 Mar 2026 12:01:30 GMT", 90.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    ("ours", "theirs", "equal"),
    [
        ("1.50", 1.5, True),
        ("1.50", "1.5", True),
        ("01234", "1234", False),
        ("12345678901234567890", 12345678901234567000, False),
        (True, "true", True),
        (None, "", False),
        ("", None, False),
        (None, None, True),
        ("2024-01-01T12:01:00.000001+00:00", "2024-01-01T12:01:00Z", True),
        ("2024-01-01T12:01:00+00:00", "2024-01-01T13:01:00.000+0100", True),
        ("2024-01-01T12:01:00+00:00", "2024-01-01T12:01:01Z", False),
        ("2024-01-01", "2024-01-02", False),
        ({"a": [1]}, {"a": [1]}, True),
        ({"a": [1]}, {"a": [2]}, False),
    ],
)
def test_what_an_api_gives_back_is_compared_by_value(ours: object, theirs: object, equal: bool) -> None:
    assert same(ours, theirs) is equal
    assert same(None, "", empty_is_null=True)


@pytest.mark.parametrize("rate", ["100", "0/10s", "100/0s", "-1/10s", "100/10", "a/10s", ""])
def test_no_rate(rate: str) -> None:
    with pytest.raises(ValueError, match="100/10s"):
        parse_rate(rate)


@pytest.mark.parametrize("rate", ["1/1s", "5/2s", "100/10s", "1000/1m"])
def test_no_period_sees_more_than_the_rate(rate: str) -> None:
    count, seconds = parse_rate(rate)
    pace = Pace(Connection("warehouse", "postgres"), "api", rate)
    # What a bucket gives in half-open time: what it holds, and what flows in before the end.
    assert pace.burst - 1 + pace.rate * seconds <= count + 1e-9
    assert pace.rate * seconds >= 0.9 * count


def test_waits_double_up_to_the_longest() -> None:
    backoff = Backoff(first=1, longest=5)
    for failures, most in ((1, 1), (2, 2), (3, 4), (4, 5), (100, 5)):
        waits = [backoff.delay(failures) for _ in range(50)]
        assert max(waits) <= most
        assert min(waits) >= most / 2


@pytest.mark.parametrize(
    ("connection", "url"),
    [
        (Connection("api", "http", "crm.example.com", schema="https"), "https://crm.example.com"),
        (Connection("api", "http", "127.0.0.1", 8090), "http://127.0.0.1:8090"),
        (Connection("api", "https", "::1", 8443), "https://[::1]:8443"),
        (Connection("api", "http", "https://crm.example.com/eu/"), "https://crm.example.com/eu"),
    ],
)
def test_addresses_as_airflow_spells_them(connection: Connection, url: str) -> None:
    assert base_url(connection) == url


def test_a_connection_without_host_is_refused() -> None:
    with pytest.raises(ContractError, match="no host"):
        base_url(Connection("api", "http"))


def test_books_that_balance() -> None:
    REPORT.check_books()


@pytest.mark.parametrize(
    "fate",
    [
        *("read", "unchanged", "delivered", "rejected", "held", "unsent", "creates"),
        *("deletes", "deleted", "deletes_rejected", "deletes_unsent"),
    ],
)
def test_books_that_do_not(fate: str) -> None:
    with pytest.raises(BooksDoNotBalance):
        replace(REPORT, **{fate: getattr(REPORT, fate) + 1}).check_books()


def test_personal_data_stays_out_of_repr_and_counts() -> None:
    record = Record("c1", b"", '{"email": "ada@example.com"}')
    assert "ada" not in f"{REPORT} {REPORT.counts()} {record}"


def test_the_contracts_of_the_demo_are_valid() -> None:
    assert {"contacts_api", "crm_contacts"} <= {contract.sync for contract in load_all(SyncContract)}
