"""What a contract answers is held against each load: nothing of a batch that did not pass is published."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from include.core.contracts import SourceContract
from include.core.errors import (
    BreakerTripped,
    ContractError,
    GateFailed,
    TerminalError,
    TransientError,
)
from include.core.interval import Interval
from include.flows.status import last_good
from tests.support.pipeline import Pipeline, contract
from tests.support.store import COLUMNS, CUSTOMERS, ORDERS


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        ("insert into orders (id, customer, total) values (5000, 1, -1)", "total is between 0"),
        ("insert into orders (id, customer, total) values (5000, 999, 1)", "refers to a row of customers"),
        ("insert into customers values (51, 'no address')", "email matches @"),
    ],
)
def test_a_bad_row_stops_the_whole_source_and_raw_keeps_its_state(
    shop: Pipeline, both: SourceContract, damage: str, rule: str
) -> None:
    shop.pull(both)
    before = shop.at_warehouse("select * from raw_store.orders order by id")
    shop.at_source("update orders set total = 1, updated_at = clock_timestamp() where id = 1")
    shop.at_source(damage)
    with pytest.raises(GateFailed):
        shop.pull(both)
    assert shop.at_warehouse("select * from raw_store.orders order by id") == before
    failures = shop.at_warehouse("select failures::text from ledger.load_stream where status = 'rejected'")
    assert rule in failures[0][0] and "no address" not in failures[0][0]
    assert shop.at_warehouse("select status from ledger.load order by load_id") == [
        ("published",),
        ("rejected",),
    ]
    # Once the source is right again, nothing of what was held back is missing.
    shop.at_source(
        "update orders set total = 2, customer = 1, updated_at = clock_timestamp() where id = 5000"
    )
    shop.at_source("update customers set email = 'a@b' where id = 51")
    shop.pull(both)
    assert shop.same("orders", "raw_store.orders", COLUMNS)


def test_the_rest_goes_on_where_the_contract_says_so(shop: Pipeline) -> None:
    apart = contract("store", [CUSTOMERS, ORDERS], on_failed_audit="stop_stream")
    shop.pull(apart)
    shop.at_source(
        "insert into orders (id, customer, total) values (5000, 1, -1); insert into customers values (51, 'x@y')"
    )
    published = shop.pull(apart)
    assert published.rejected == ("orders",) and set(published.changed) == {"customers"}
    assert shop.same("customers", "raw_store.customers", "id, email")
    assert shop.at_warehouse("select count(*) from raw_store.orders where id = 5000") == [(0,)]
    shop.at_source(
        "update orders set total = 1 where id = 5000"
    )  # without a new stamp: its watermark did not move
    shop.pull(apart)
    assert shop.same("orders", "raw_store.orders", COLUMNS)


def test_a_stream_that_refers_to_a_rejected_one_is_held_back_with_it(shop: Pipeline) -> None:
    child = ORDERS | {"references": [{"columns": ["customer"], "stream": "customers"}]}
    apart = contract("store", [CUSTOMERS, child], on_failed_audit="stop_stream")
    shop.pull(apart)
    shop.at_source("insert into customers values (51, 'no address')")
    shop.at_source("insert into orders (id, customer, total) values (5000, 51, 1)")
    assert set(shop.pull(apart).rejected) == {"customers", "orders"}
    assert shop.at_warehouse("select count(*) from raw_store.orders where id = 5000") == [(0,)]
    shop.at_source("update customers set email = 'a@b' where id = 51")
    shop.pull(apart)
    assert shop.same("orders", "raw_store.orders", COLUMNS)


def test_references_are_judged_only_where_both_sides_were_read(shop: Pipeline, both: SourceContract) -> None:
    shop.pull(both)
    shop.at_source("insert into customers values (51, 'c51@example.com')")
    shop.at_source("insert into orders (id, customer, total) values (6000, 51, 1)")
    shop.pull(both, only=("orders",))  # its customer is not in raw yet, and this run does not read customers
    shop.pull(both)
    assert shop.same("orders", "raw_store.orders", COLUMNS)
    assert shop.same("customers", "raw_store.customers", "id, email")


def test_a_personal_key_is_not_shown(shop: Pipeline) -> None:
    people = {
        "name": "people",
        "table": "public.people",
        "primary_key": ["email"],
        "mode": "snapshot",
        "deletes": "snapshot",
        "columns": {"email": {"type": "text", "pii": "email"}, "age": {"type": "integer", "min": 0}},
    }
    shop.at_source(
        "create table people (email text primary key, age int); insert into people values ('anna@x.org', -1)"
    )
    with pytest.raises(GateFailed):
        shop.pull(contract("people", [people]))
    failures = shop.at_warehouse("select failures::text from ledger.load_stream where stream = 'people'")[0][
        0
    ]
    assert "anna" not in failures and "md5" in failures


def test_an_emptied_table_trips_the_breaker(shop: Pipeline, both: SourceContract) -> None:
    shop.pull(both)
    shop.at_source("delete from orders")
    with pytest.raises(BreakerTripped, match="1000 of 1000 rows"):
        shop.pull(both)
    assert shop.at_warehouse("select count(*) from raw_store.orders where _deleted_at is null") == [(1000,)]


def test_stale_data_and_floods_and_truncated_snapshots_are_noticed(shop: Pipeline) -> None:
    stale = contract("store", [ORDERS | {"freshness": "1s"}])
    shop.at_source("update orders set updated_at = now() - interval '1 day'")
    with pytest.raises(GateFailed, match="too old"):
        shop.pull(stale)
    assert shop.same("orders", "raw_store.orders", COLUMNS)  # what it had is published
    flood = contract("store", [ORDERS | {"max_rows_per_day": 5}])
    shop.at_source("update orders set updated_at = clock_timestamp() where id <= 6")
    with pytest.raises(GateFailed):
        shop.pull(flood)
    truncated = contract("store", [CUSTOMERS | {"min_rows": 51}])
    with pytest.raises(GateFailed):
        shop.pull(truncated)


def test_what_was_accepted_for_a_time_is_refused_afterwards(shop: Pipeline) -> None:
    accepted = {"by": "somebody", "why": "unknown yet", "until": "2026-03-01"}
    late = contract("store", [ORDERS], lateness=accepted)
    shop.pull(late, Interval(None, datetime(2026, 3, 1, tzinfo=timezone.utc)))
    with pytest.raises(ContractError, match="lateness: until 2026-03-01, by somebody"):
        shop.pull(late, Interval(None, datetime(2026, 3, 2, tzinfo=timezone.utc)))


def test_a_source_that_may_have_dropped_unread_rows_is_not_read_on(shop: Pipeline) -> None:
    brief = contract("store", [ORDERS], keeps="1d")
    shop.pull(brief, Interval(None, datetime(2026, 3, 1, tzinfo=timezone.utc)))
    with pytest.raises(TerminalError, match="never read"):
        shop.pull(brief, Interval(None, datetime(2026, 3, 3, tzinfo=timezone.utc)))


def test_a_late_upstream_holds_the_pull(shop: Pipeline) -> None:
    feed = {"name": "feed", "max_age": "1h", "freshness_query": "select now() - interval '2 hours'"}
    with pytest.raises(TransientError, match="upstream 'feed'"):
        shop.pull(contract("store", [ORDERS], upstreams=[feed]))
    shop.pull(contract("store", [ORDERS], upstreams=[feed | {"max_age": "3h"}]))


def test_a_query_for_freshness_cannot_write_into_the_source(shop: Pipeline) -> None:
    shop.at_source(
        "create function public.noted() returns timestamptz language sql as"
        " 'insert into public.orders (id) values (9000) returning updated_at'"
    )
    feed = {"name": "feed", "max_age": "3h", "freshness_query": "select public.noted()"}
    with pytest.raises(TerminalError, match="INSERT in a read-only transaction"):
        shop.pull(contract("store", [ORDERS], upstreams=[feed]))
    assert shop.at_source("select count(*) from orders where id = 9000") == [(0,)]


def test_a_snapshot_may_grow_by_its_rate_for_each_day_since_the_last_load(shop: Pipeline) -> None:
    day = datetime(2026, 3, 1, tzinfo=timezone.utc)
    slow = contract("store", [CUSTOMERS | {"max_rows_per_day": 5}])
    shop.pull(slow, Interval(None, day))  # nothing is known yet of how it grows
    shop.at_source("insert into customers select i, 'c@example.com' from generate_series(51, 59) i")
    with pytest.raises(GateFailed, match="customers"):
        shop.pull(slow, Interval(None, day + timedelta(hours=1)))
    failures = shop.at_warehouse("select failures::text from ledger.load_stream where status = 'rejected'")
    assert "the batch has 0 to 55 rows" in failures[0][0]
    assert shop.pull(slow, Interval(None, day + timedelta(days=2))).changed == {"customers": 9}
    shop.at_source("delete from customers where id <= 10")  # what it loses, it may gain
    shop.at_source("insert into customers select i, 'c@example.com' from generate_series(60, 74) i")
    shop.pull(slow, Interval(None, day + timedelta(days=2, hours=1)))
    assert shop.same("customers", "raw_store.customers", "id, email")


def test_the_last_good_state_is_of_what_was_published_whole(shop: Pipeline) -> None:
    def good(stream: str | None = None) -> datetime | None:
        return last_good("ingest", "store", shop.connect, [stream] if stream else [])

    apart = contract("store", [CUSTOMERS, ORDERS], on_failed_audit="stop_stream")
    assert good() is None
    shop.pull(apart)
    before = good()
    assert before is not None and good("orders") == before
    shop.at_source("insert into orders (id, customer, total) values (5000, 1, -1)")
    assert shop.pull(apart).rejected == ("orders",)
    assert (good(), good("orders")) == (before, before)
    with_customers = good("customers")
    assert with_customers is not None and with_customers > before
    day = datetime(2026, 3, 1, tzinfo=timezone.utc)
    shop.pull(apart, Interval(day, day + timedelta(days=1)), backfill=True)
    assert (good(), good("orders"), good("customers")) == (before, before, with_customers)
    shop.at_source("update orders set total = 1 where id = 5000")
    shop.pull(apart)
    after = good()
    assert after is not None and after > with_customers and good("orders") == after
