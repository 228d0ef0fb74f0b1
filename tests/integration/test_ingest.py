"""A source into raw: complete, once, and exactly."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from include.core.contracts import SourceContract
from include.core.errors import (
    GateFailed,
    SchemaChanged,
    SourceForbidden,
    TypeNotExact,
)
from include.core.interval import Interval
from include.flows.extract import extract
from include.flows.load import audit, stage
from include.flows.publish import Published, close, publish
from tests.support.pipeline import Pipeline, contract
from tests.support.store import COLUMNS, CUSTOMERS, ORDERS, counts


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


def test_a_stream_whose_key_is_not_that_of_raw_is_refused_by_name(shop: Pipeline) -> None:
    shop.at_source("alter table customers drop constraint customers_pkey")  # or the source would say it first
    pair = CUSTOMERS | {"columns": CUSTOMERS["columns"] | {"email": {"type": "text"}}}
    shop.pull(contract("store", [pair | {"primary_key": ["id", "email"]}]))
    shop.pull(contract("store", [pair | {"primary_key": ["email", "id"]}]))  # the same key in another order
    keyed = contract("store", [pair])
    with pytest.raises(SchemaChanged) as caught:
        shop.pull(keyed)
    assert "received: primary key (id)" in str(caught.value)
    assert "allowed:  primary key (id, email), which is that of raw" in str(caught.value)
    # as the message says
    shop.at_warehouse("alter table raw_store.customers rename to customers_before")
    shop.pull(keyed, full_refresh=True)
    assert shop.same("customers", "raw_store.customers", "id, email")
    with pytest.raises(SchemaChanged, match="primary key \\(id\\), which is that of raw"):
        shop.pull(contract("store", [pair | {"primary_key": [], "deletes": "none"}]))


def test_of_rows_with_the_same_key_the_newest_wins(shop: Pipeline) -> None:
    newest = contract("store", [ORDERS], duplicates="newest_wins")
    shop.at_source("alter table orders drop constraint orders_pkey")
    repeat = "insert into orders (id, customer, total, note, updated_at) values (%s, 1, 1, %s, %s)"
    for note, stamp in (("older", "2020-01-01Z"), ("newest", "2030-01-01Z"), ("newer", "2029-01-01Z")):
        shop.at_source(repeat, 7, note, stamp)
    first = shop.pull(newest)  # with books that balance
    assert counts(shop, first.load_id, "orders") == (1003, 1003, 1003, 1000, 0, 0, 0)
    assert _duplicates(first) == 3
    assert shop.at_warehouse("select note from raw_store.orders where id = 7") == [("newest",)]
    shop.at_source("update orders set note = 'changed', updated_at = '2031-01-01Z' where note = 'newest'")
    second = shop.pull(newest)
    assert (second.changed, _duplicates(second)) == ({"orders": 1}, 1)
    assert shop.at_warehouse("select note from raw_store.orders where id = 7") == [("changed",)]
    with pytest.raises(GateFailed):
        shop.pull(contract("store", [ORDERS]))


def test_where_repeated_keys_are_accepted_the_same_row_is_taken_every_time(shop: Pipeline) -> None:
    accepted = {"by": "somebody", "why": "they differ in nothing that counts", "until": "2099-12-31"}
    lax = contract("store", [CUSTOMERS], duplicates=accepted)
    shop.at_source("alter table customers drop constraint customers_pkey")
    shop.at_source("insert into customers values (1, 'a@x'), (1, 'z@x'), (2, 'a@x')")
    first = shop.pull(lax)
    assert (first.changed, _duplicates(first)) == ({"customers": 50}, 3)
    shop.at_source("delete from customers where email = 'z@x'; insert into customers values (1, 'z@x')")
    second = shop.pull(lax)
    assert (second.changed, _duplicates(second)) == ({"customers": 0}, 3)


def _duplicates(published: Published) -> int:
    return int(published.streams[0]["duplicates"])
