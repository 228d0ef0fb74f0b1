"""A source into raw: complete, once, and nothing of a batch that did not pass."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest

from include.core.contracts import SourceContract
from include.core.errors import (
    BreakerTripped,
    ContractError,
    GateFailed,
    LeaseHeld,
    SchemaChanged,
    SourceForbidden,
    StaleLoad,
    TerminalError,
    TransientError,
    TypeNotExact,
)
from include.core.interval import Interval
from include.flows.extract import extract, horizon
from include.flows.load import audit, stage
from include.flows.publish import close, publish
from include.warehouse import ledger
from tests.support.pipeline import Pipeline, contract

ORDERS: dict[str, Any] = {
    "name": "orders",
    "table": "public.orders",
    "primary_key": ["id"],
    "mode": "incremental",
    "cursor": "updated_at",
    "deletes": "keys",
    "columns": {
        "id": {"type": "integer"},
        "customer": {"type": "integer"},
        "total": {"type": "numeric(12,2)", "min": 0},
        "note": {"type": "text"},
        "extra": {"type": "jsonb"},
        "updated_at": {"type": "timestamp with time zone", "not_null": True},
    },
}
CUSTOMERS: dict[str, Any] = {
    "name": "customers",
    "table": "public.customers",
    "primary_key": ["id"],
    "mode": "snapshot",
    "deletes": "snapshot",
    "columns": {"id": {"type": "integer"}, "email": {"type": "text", "pii": "email", "pattern": "@"}},
}
COLUMNS = "id, customer, total, note, extra, updated_at"


@pytest.fixture
def shop(pipeline: Pipeline) -> Pipeline:
    pipeline.at_source(
        "create table customers (id int primary key, email text);"
        "create table orders (id int primary key, customer int, total numeric(12,2), note text, extra jsonb,"
        " updated_at timestamptz not null default clock_timestamp());"
        "insert into customers select i, 'c' || i || '@example.com' from generate_series(1, 50) i;"
        "insert into orders (id, customer, total, note, extra)"
        " select i, 1 + i % 50, i / 3.0, nullif('n' || i % 7, 'n3'), jsonb_build_object('n', i::text)"
        " from generate_series(1, 1000) i"
    )
    return pipeline


@pytest.fixture
def both() -> SourceContract:
    return contract(
        "store", [CUSTOMERS, ORDERS | {"references": [{"columns": ["customer"], "stream": "customers"}]}]
    )


def counts(pipeline: Pipeline, load_id: int, stream: str) -> tuple[Any, ...]:
    return pipeline.at_warehouse(
        "select extracted, landed, staged, inserted, updated, unchanged, deleted from ledger.load_stream"
        " where load_id = %s and stream = %s",
        load_id,
        stream,
    )[0]


def test_first_pull_brings_everything_and_a_second_one_nothing(shop: Pipeline, both: SourceContract) -> None:
    first = shop.pull(both)
    assert counts(shop, first.load_id, "orders") == (1000, 1000, 1000, 1000, 0, 0, 0)
    assert shop.same("orders", "raw_store.orders", COLUMNS)
    assert shop.same("customers", "raw_store.customers", "id, email")
    second = shop.pull(both)
    assert counts(shop, second.load_id, "orders") == (0, 0, 0, 0, 0, 0, 0)
    assert counts(shop, second.load_id, "customers") == (50, 50, 50, 0, 0, 50, 0)
    assert second.changed == {"customers": 0, "orders": 0}
    assert shop.at_warehouse("select tablename from pg_tables where schemaname = 'staging_batches'") == []


def test_changes_and_deletes_are_found_and_only_they_move(shop: Pipeline, both: SourceContract) -> None:
    shop.pull(both)
    shop.at_source(
        "update orders set total = total + 1, updated_at = clock_timestamp() where id <= 10;"
        "delete from orders where id between 11 and 15;"
        "insert into orders (id, customer, total) values (2001, 1, 5), (2002, 2, 6);"
        "delete from customers where id = 50 and not exists (select 1 from orders where customer = 50)"
    )
    second = shop.pull(both)
    assert counts(shop, second.load_id, "orders") == (12, 12, 12, 2, 10, 0, 5)
    assert shop.same("orders", "raw_store.orders", COLUMNS)
    assert len(shop.at_warehouse("select 1 from raw_store.orders where _deleted_at is not null")) == 5


def test_a_row_that_comes_back_is_alive_again(shop: Pipeline, both: SourceContract) -> None:
    shop.pull(both)
    shop.at_source("delete from orders where id = 7")
    shop.pull(both)
    shop.at_source("insert into orders (id, customer, total) values (7, 3, 1)")
    shop.pull(both)
    assert shop.same("orders", "raw_store.orders", COLUMNS)


def test_a_transaction_that_commits_late_is_not_lost(shop: Pipeline, both: SourceContract) -> None:
    shop.pull(both)
    with psycopg.connect(shop.source) as late:
        late.execute("insert into orders (id, customer, total, updated_at) values (3000, 1, 1, now())")
        end = datetime.now(timezone.utc)
        found = horizon(shop.run(both), end)
        assert not found.passed and "open since" in found.blockers[0]
        # Whoever does not wait reads without it, and a watermark at `end` would leave it behind for ever.
        late.commit()
    assert horizon(shop.run(both), end).passed
    shop.pull(both, Interval(None, end))
    assert shop.same("orders", "raw_store.orders", COLUMNS)


def test_horizon_counts_transactions_that_have_written_nothing_and_prepared_ones(
    shop: Pipeline, both: SourceContract
) -> None:
    with psycopg.connect(shop.source) as idle:
        idle.execute("select 1")
        assert not horizon(shop.run(both), datetime.now(timezone.utc)).passed
    with psycopg.connect(shop.source, autocommit=True) as session:
        session.execute("begin")
        session.execute("insert into orders (id, updated_at) values (4000, now())")
        session.execute("prepare transaction 'two phases'")
        try:
            found = horizon(shop.run(both), datetime.now(timezone.utc))
            assert not found.passed and "two phases" in found.blockers[0]
        finally:
            session.execute("commit prepared 'two phases'")
    assert horizon(shop.run(both), datetime.now(timezone.utc)).passed
    future = horizon(shop.run(both), datetime.now(timezone.utc) + timedelta(minutes=5))
    assert not future.passed and "clock" in future.blockers[0]


def test_a_role_that_cannot_see_other_transactions_is_refused(shop: Pipeline, both: SourceContract) -> None:
    shop.at_source("drop role if exists blind; create role blind login password 'blind'")
    shop.at_source(
        "grant usage on schema public to blind; grant select on all tables in schema public to blind"
    )
    source = shop.connections["source"]
    shop.connections["source"] = type(source)(
        "source", "postgres", source.host, source.port, "blind", "blind", source.schema
    )
    try:
        with pytest.raises(SourceForbidden, match="grant pg_read_all_stats to blind"):
            horizon(shop.run(both), datetime.now(timezone.utc))
    finally:
        shop.at_source("drop owned by blind; drop role blind")


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


def test_an_emptied_table_trips_the_breaker(shop: Pipeline, both: SourceContract) -> None:
    shop.pull(both)
    shop.at_source("delete from orders")
    with pytest.raises(BreakerTripped, match="1000 of 1000 rows"):
        shop.pull(both)
    assert shop.at_warehouse("select count(*) from raw_store.orders where _deleted_at is null") == [(1000,)]


def test_a_backfill_reads_its_interval_alone_and_moves_no_watermark(
    shop: Pipeline, both: SourceContract
) -> None:
    day = datetime(2026, 3, 1, tzinfo=timezone.utc)
    shop.at_source("update orders set updated_at = '2026-03-01 12:00Z' where id <= 5")
    shop.pull(both)
    marks = shop.at_warehouse("select stream, watermark from ledger.watermark order by 1")
    shop.at_warehouse(
        "update raw_store.orders set total = -5 where id <= 3; update raw_store.orders set total = -5 where id = 900"
    )
    past = Interval(day, day + timedelta(days=1))
    published = shop.pull(both, past, backfill=True)
    assert counts(shop, published.load_id, "orders") == (5, 5, 5, 0, 3, 2, 0)
    assert [row["stream"] for row in published.streams] == ["orders"]  # a snapshot has no past
    assert shop.at_warehouse("select id from raw_store.orders where total = -5") == [(900,)]
    assert shop.at_warehouse("select stream, watermark from ledger.watermark order by 1") == marks
    # A past run that is cleared and runs again does the same without being told that it is one.
    assert counts(shop, shop.pull(both, past).load_id, "orders") == (5, 5, 5, 0, 0, 5, 0)
    assert shop.at_warehouse("select stream, watermark from ledger.watermark order by 1") == marks


def test_only_one_run_loads_a_source_at_a_time(shop: Pipeline, both: SourceContract) -> None:
    end = Interval(None, datetime.now(timezone.utc))
    first = shop.run(both, "first")
    landed = extract(first, end)
    with pytest.raises(LeaseHeld, match="'first'"):
        extract(shop.run(both, "second"), end)
    close(first, landed.load_id)
    shop.pull(both, run_id="second")


def test_a_worker_that_slept_while_another_took_over_writes_nothing(
    shop: Pipeline, both: SourceContract
) -> None:
    stale = shop.run(both, "stale")
    landed = extract(stale, Interval(None, datetime.now(timezone.utc)))
    for step in (stage, audit):
        for stream in landed.streams:
            step(stale, landed.load_id, stream)
    shop.at_warehouse("update ledger.lease set expires_at = now() - interval '1 second'")
    shop.at_source("update orders set note = 'newer', updated_at = clock_timestamp() where id = 1")
    shop.pull(both, run_id="replacement")
    with pytest.raises(StaleLoad):
        publish(stale, landed.load_id)
    assert shop.at_warehouse("select note from raw_store.orders where id = 1") == [("newer",)]
    assert shop.same("orders", "raw_store.orders", COLUMNS)


def test_every_step_may_run_twice(shop: Pipeline, both: SourceContract) -> None:
    run = shop.run(both)
    interval = Interval(None, datetime.now(timezone.utc))
    extract(run, interval)
    landed = extract(run, interval)
    for step in (stage, stage, audit, audit):
        for stream in landed.streams:
            step(run, landed.load_id, stream)
    first, second = publish(run, landed.load_id), publish(run, landed.load_id)
    assert first == second
    close(run, landed.load_id)
    close(run, landed.load_id)
    stage(run, landed.load_id, "orders")
    audit(run, landed.load_id, "orders")
    assert publish(run, landed.load_id) == first
    assert shop.same("orders", "raw_store.orders", COLUMNS)


def test_a_changed_table_stops_before_anything_is_read(shop: Pipeline, both: SourceContract) -> None:
    shop.at_source(
        "alter table orders add column colour text; alter table orders alter column note type varchar(9)"
    )
    with pytest.raises(SchemaChanged) as caught:
        shop.pull(both)
    assert "'colour': contract does not know it" in str(caught.value)
    assert "'note': contract says text, source has character varying(9)" in str(caught.value)
    assert shop.at_warehouse("select count(*) from ledger.load where manifest is not null") == [(0,)]


def test_a_new_column_is_added_with_the_values_that_all_rows_have(shop: Pipeline) -> None:
    open_contract = contract("store", [ORDERS], on_schema_change="add_columns")
    shop.pull(open_contract)
    # The source gives every row a value, and stamps none of them.
    shop.at_source("alter table orders add column tier text not null default 'gold'")
    shop.at_source("update orders set tier = 'red', updated_at = clock_timestamp() where id = 1")
    published = shop.pull(open_contract)
    assert published.changed == {"orders": 1000}
    assert shop.same("orders", "raw_store.orders", COLUMNS + ", tier")
    assert shop.pull(open_contract).changed == {"orders": 0}


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


def test_values_beyond_their_carrier_are_refused_by_name_and_carried_as_text_when_told(
    shop: Pipeline,
) -> None:
    shop.at_source("create table odd (id int primary key, d date, n numeric(6,2), t timestamptz)")
    shop.at_source(
        "insert into odd values (1, 'infinity', 'NaN', '-infinity'), (2, '0044-03-15 BC', 1.5, '20000-01-01Z')"
    )
    types = {"id": "integer", "d": "date", "n": "numeric(6,2)", "t": "timestamp with time zone"}
    stream = {
        "name": "odd",
        "table": "public.odd",
        "primary_key": ["id"],
        "mode": "snapshot",
        "deletes": "snapshot",
    }
    plain = {name: {"type": kind} for name, kind in types.items()}
    with pytest.raises(TypeNotExact, match="carry: text"):
        shop.pull(contract("odd", [stream | {"columns": plain}]))
    as_text = {
        name: {"type": kind} | ({} if name == "id" else {"carry": "text"}) for name, kind in types.items()
    }
    shop.pull(contract("odd", [stream | {"columns": as_text}]))
    assert shop.same("odd", "raw_odd.odd", "id, d, n, t")


def test_tables_without_a_key_are_replaced_whole(shop: Pipeline) -> None:
    shop.at_source(
        "create table log (at timestamptz, line text); insert into log values (now(), 'a'), (null, 'a'), (null, null)"
    )
    keyless = contract(
        "log",
        [
            {
                "name": "log",
                "table": "public.log",
                "mode": "snapshot",
                "columns": {"at": {"type": "timestamp with time zone"}, "line": {"type": "text"}},
            }
        ],
    )
    shop.pull(keyless)
    assert shop.same("log", "raw_log.log", "at, line")
    shop.at_source("delete from log where line is null; insert into log values (null, 'b'), (null, 'b')")
    shop.pull(keyless)
    assert shop.same("log", "raw_log.log", "at, line")


def test_row_level_security_is_an_error_not_fewer_rows(shop: Pipeline, both: SourceContract) -> None:
    shop.at_source(
        "alter table orders enable row level security; create policy few on orders using (id < 10);"
        "drop role if exists limited; create role limited login password 'limited' in role pg_read_all_stats;"
        "grant select on all tables in schema public to limited"
    )
    source = shop.connections["source"]
    shop.connections["source"] = type(source)(
        "source", "postgres", source.host, source.port, "limited", "limited", source.schema
    )
    try:
        with pytest.raises(SourceForbidden, match="row-level security"):
            shop.pull(both)
    finally:
        shop.at_source("drop owned by limited; drop role limited")


def test_another_server_behind_the_connection_is_not_mixed_in(shop: Pipeline, both: SourceContract) -> None:
    shop.pull(both)
    shop.at_warehouse("update ledger.watermark set server = 'another'")
    with pytest.raises(TerminalError, match="another server"):
        shop.pull(both)
    shop.pull(both, full_refresh=True)


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


def test_references_are_judged_only_where_both_sides_were_read(shop: Pipeline, both: SourceContract) -> None:
    shop.pull(both)
    shop.at_source("insert into customers values (51, 'c51@example.com')")
    shop.at_source("insert into orders (id, customer, total) values (6000, 51, 1)")
    shop.pull(both, only=("orders",))  # its customer is not in raw yet, and this run does not read customers
    shop.pull(both)
    assert shop.same("orders", "raw_store.orders", COLUMNS)
    assert shop.same("customers", "raw_store.customers", "id, email")


def test_a_step_that_is_silent_for_long_keeps_its_turn(
    shop: Pipeline, both: SourceContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "LEASE", timedelta(seconds=1))
    now = Interval(None, datetime.now(timezone.utc))
    slow, other = shop.run(both, "slow"), shop.run(both, "other")
    with ThreadPoolExecutor(1) as background, psycopg.connect(shop.source) as busy:
        busy.execute("lock table orders in access exclusive mode")
        landing = background.submit(extract, slow, now)
        time.sleep(3)  # three times the lease
        with pytest.raises(LeaseHeld, match="'slow'"):
            extract(other, now)
        busy.rollback()
        landed = landing.result()
    time.sleep(1.5)  # nobody works on it any more, as after a kill
    taken = extract(other, now)
    with pytest.raises(StaleLoad):
        stage(slow, landed.load_id, "orders")
    close(other, taken.load_id)
