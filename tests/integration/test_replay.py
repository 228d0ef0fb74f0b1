"""Raw from the landing zone alone: what was damaged comes out as it was, and what is right is not touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
import yaml

from include.core.connection import Connection
from include.core.contracts import SourceContract
from include.core.errors import (
    ContractError,
    GateFailed,
    LeaseHeld,
    NotLanded,
    SchemaChanged,
    StaleLoad,
    TerminalError,
)
from include.core.interval import Interval
from include.flows.books import unbalanced
from include.flows.extract import extract
from include.flows.publish import close
from include.flows.replay import Replay
from include.flows.replay_plan import Scope, StreamPlan
from include.flows.setup import set_up_warehouse
from include.flows.shapes import shapes
from include.flows.status import last_good, last_loads
from include.landing import zone
from include.stack.home import PROJECT_ROOT
from include.warehouse.rebuild import Held, Rebuilt
from tests.support.lifecycle import until
from tests.support.pipeline import PASSWORDS, Pipeline, answers, contract
from tests.support.stack import S3Store
from tests.support.store import COLUMNS, CUSTOMERS, ORDERS

LOG: dict[str, Any] = {
    "name": "log",
    "table": "public.log",
    "mode": "snapshot",
    "columns": {"at": {"type": "timestamp with time zone"}, "line": {"type": "text"}},
}
REFUNDS: dict[str, Any] = {
    "name": "Refunds %s",
    "table": 'public."Re funds"',
    "primary_key": ["order", "no"],
    "mode": "incremental",
    "cursor": "at",
    "deletes": "keys",
    "deleted_rows": "remove",
    "columns": {
        "order": {"type": "integer"},
        "no": {"type": "integer"},
        "%(a)s": {"type": "double precision"},
        "at": {"type": "timestamp with time zone"},
    },
}
STREAMS = [CUSTOMERS, ORDERS, LOG, REFUNDS]
SAME = Rebuilt(0, 0, 0, 0)


@pytest.fixture
def store(shop: Pipeline) -> SourceContract:
    """A source with every kind of stream: snapshot, incremental with tombstones, with removal, and without a key."""
    shop.at_source(
        "create table log (at timestamptz, line text); insert into log values (now(), 'a'), (null, 'a'), (null, 'a');"
        'create table "Re funds" ("order" int, no int, "%(a)s" float8, at timestamptz not null default clock_timestamp(),'
        ' primary key ("order", no));'
        'insert into "Re funds" select i, 1, i / 7.0 from generate_series(1, 300) i'
    )
    return contract("store", STREAMS)


def lived(pipeline: Pipeline, store: SourceContract) -> list[int]:
    """Five loads with inserts, updates, deletes and rows that came back; the fourth is a backfill."""
    loads = [pipeline.pull(store).load_id]
    pipeline.at_source(
        "update orders set total = total + 1, updated_at = clock_timestamp() where id <= 10;"
        "delete from orders where id between 11 and 15; delete from customers where id in (49, 50);"
        "insert into orders (id, customer, total) values (2001, 1, 5), (2002, 2, 6);"
        "update customers set email = 'new' || email where id <= 5; insert into log values (null, 'b'), (null, 'b');"
        'delete from "Re funds" where "order" <= 20; insert into "Re funds" values (1, 2, \'NaN\')'
    )
    loads.append(pipeline.pull(store).load_id)
    pipeline.at_source(
        "insert into orders (id, customer, total) values (11, 3, 1); delete from orders where id = 2001;"
        "insert into customers values (50, 'back@example.com'); delete from log where line = 'a' and at is null;"
        "update orders set note = 'later', updated_at = clock_timestamp() where id in (9, 20)"
    )
    loads.append(pipeline.pull(store).load_id)
    pipeline.at_source("update orders set note = 'unstamped' where id = 30")
    day = datetime(2020, 1, 1, tzinfo=timezone.utc)
    loads.append(pipeline.pull(store, Interval(day, datetime.now(timezone.utc)), backfill=True).load_id)
    pipeline.at_source("delete from customers where id = 7; delete from orders where id = 500")
    loads.append(pipeline.pull(store).load_id)
    return loads


def image(pipeline: Pipeline, store: SourceContract) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of raw as text, with load id, times and tombstone."""
    return {
        stream.name: pipeline.at_warehouse(
            f'select r::text from {store.raw_schema}."{stream.name}" as r order by 1'
        )
        for stream in store.streams
    }


def replayed(pipeline: Pipeline, store: SourceContract, *streams: str, **scope: Any) -> dict[str, Rebuilt]:
    return Replay(pipeline.run(store), Scope(streams, **scope)).replay()


def planned(pipeline: Pipeline, store: SourceContract, *streams: str, **scope: Any) -> dict[str, StreamPlan]:
    found = Replay(pipeline.run(store), Scope(streams, **scope)).plan()
    return {one.stream: one for one in found}


@contextmanager
def source_away(pipeline: Pipeline) -> Iterator[None]:
    there = pipeline.connections["source"]
    pipeline.connections["source"] = replace(there, port=1)
    try:
        yield
    finally:
        pipeline.connections["source"] = there


def s3(store: S3Store) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=store.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
    )


def test_damaged_tables_come_out_as_they_were_without_the_source(
    shop: Pipeline, store: SourceContract
) -> None:
    lived(shop, store)
    before = image(shop, store)
    marks = shop.at_warehouse("select * from ledger.watermark order by 1, 2")
    assert (
        len([row for (row,) in before["orders"] if row.count(",") and not row.endswith(",)")]) == 6
    )  # tombstones
    shop.at_warehouse(
        "create view orders_view as select * from raw_store.orders; grant select on raw_store.orders to millrace_analyst;"
        "delete from raw_store.orders where id % 3 = 0;"
        "update raw_store.orders set total = -1, _load_id = 1 where id = 2002;"
        "update raw_store.orders set _deleted_at = null where id = 500; insert into raw_store.orders (id, _load_id,"
        " _loaded_at) values (9999, 1, now()); delete from raw_store.log where line = 'a';"
        "update raw_store.customers set email = 'bad', _loaded_at = now(); drop table raw_store.\"Refunds %s\""
    )
    with source_away(shop):
        done = replayed(shop, store)
        assert image(shop, store) == before
        assert replayed(shop, store) == {
            name: replace(SAME, unchanged=len(rows)) for name, rows in before.items()
        }
    assert done["orders"].deleted == 1 and done["orders"].updated == 2 and done["orders"].inserted == 334
    assert done["customers"] == Rebuilt(0, 50, 0, 0)
    assert done["Refunds %s"] == Rebuilt(len(before["Refunds %s"]), 0, 0, 0)
    assert shop.at_warehouse("select * from ledger.watermark order by 1, 2") == marks
    # Who hangs on the table still does.
    assert shop.at_warehouse("select count(*) from orders_view") == [(len(before["orders"]),)]
    assert shop.at_warehouse(
        "select has_table_privilege('millrace_analyst', 'raw_store.orders', 'select')"
    ) == [(True,)]
    assert shop.at_warehouse("select tablename from pg_tables where schemaname = 'staging_batches'") == []
    # What the loader makes is readable to those who transform, a table made anew too.
    assert shop.at_warehouse(
        "select has_table_privilege('millrace_transformer', 'raw_store.\"Refunds %s\"', 'select')"
    ) == [(True,)]


def test_a_table_that_is_right_is_not_written(shop: Pipeline, store: SourceContract) -> None:
    lived(shop, store)
    where = "select ctid, xmin, xmax from raw_store.orders order by 1"
    before = shop.at_warehouse(where)
    assert replayed(shop, store)["orders"].as_before
    assert shop.at_warehouse(where) == before


def test_ingests_after_a_replay_go_on_from_where_they_were(shop: Pipeline, store: SourceContract) -> None:
    lived(shop, store)
    shop.at_warehouse("delete from raw_store.orders; delete from raw_store.customers")
    replayed(shop, store)
    nothing = shop.pull(store)
    assert nothing.changed == {
        "customers": 0,
        "log": len(image(shop, store)["log"]) * 2,
        "orders": 0,
        "Refunds %s": 0,
    }
    shop.at_source(
        "update orders set note = 'after', updated_at = clock_timestamp() where id in (1, 30);"
        "delete from orders where id = 2;"
        "insert into customers values (77, 'x@example.com')"
    )
    assert shop.pull(store).changed["orders"] == 3
    assert shop.same("orders", "raw_store.orders", COLUMNS)
    assert shop.same("customers", "raw_store.customers", "id, email")
    assert shop.same('"Re funds"', 'raw_store."Refunds %s"', '"order", no, "%(a)s", at')
    assert replayed(shop, store)["orders"].as_before


def test_a_range_brings_its_rows_back_and_touches_no_others(shop: Pipeline, store: SourceContract) -> None:
    loads = lived(shop, store)
    before = image(shop, store)
    by_load = dict(shop.at_warehouse("select id, _load_id from raw_store.orders"))
    shop.at_warehouse(
        "delete from raw_store.orders where id in (1, 2, 9, 20, 2002); update raw_store.orders set total = -1 where id = 10;"
        'update raw_store.orders set total = -1 where id = 900; delete from raw_store."Refunds %s" where "order" = 1'
    )
    second = replayed(shop, store, since=loads[1], until=loads[1])
    # 1, 2, 10 and 2002 are of the second load. 9 and 20 have a newer version, 900 an older one.
    assert {by_load[key] for key in (1, 2, 10, 2002)} == {loads[1]} and by_load[9] == by_load[20] == loads[2]
    assert second["orders"] == Rebuilt(3, 1, second["orders"].unchanged, 0)
    assert "log" not in second  # its rows are all of a newer load
    assert image(shop, store)["Refunds %s"] == before["Refunds %s"]
    assert shop.at_warehouse("select id from raw_store.orders where total = -1") == [(900,)]
    assert shop.at_warehouse("select count(*) from raw_store.orders where id in (9, 20)") == [(0,)]
    assert replayed(shop, store, "orders", since=loads[2], until=loads[2])["orders"].inserted == 2
    assert replayed(shop, store, "orders", until=loads[0])["orders"].updated == 1
    assert image(shop, store) == before


def test_a_range_brings_back_no_row_that_was_deleted_since(shop: Pipeline, store: SourceContract) -> None:
    loads = lived(shop, store)
    before = image(shop, store)
    first = replayed(shop, store, until=loads[0])
    assert all(outcome.as_before for outcome in first.values())
    assert image(shop, store) == before  # 20 refunds that the second load removed stay away
    with pytest.raises(TerminalError, match=f"loads {loads[0]} to {loads[-1]}"):
        planned(shop, store, since=loads[-1] + 1)
    with pytest.raises(ContractError, match="customers, orders, log"):
        planned(shop, store, "order")


def test_a_range_of_times_is_that_of_publication(shop: Pipeline, store: SourceContract) -> None:
    loads = lived(shop, store)
    times = [
        moment
        for (moment,) in shop.at_warehouse(
            "select published_at from ledger.load where published_at is not null order by 1"
        )
    ]
    plan = planned(shop, store, since=times[1], until=times[3])["orders"]
    assert plan.only == (loads[1], loads[2])
    # Later loads are read too: they know which rows have a newer version.
    assert plan.loads == (loads[1], loads[4])


def test_the_newest_complete_load_is_enough_for_the_rows_that_live(
    shop: Pipeline, store: SourceContract
) -> None:
    loads = lived(shop, store)
    assert planned(shop, store, "log")["log"].loads == (loads[4], loads[4])
    plan = planned(shop, store, newest_complete=True)
    assert [plan[name].loads[0] for name in ("customers", "orders")] == [loads[4], loads[0]]
    assert plan["customers"].read[0] == 48 and plan["customers"].held == Held(48, 2)
    shop.at_warehouse("delete from raw_store.customers where id > 3")
    done = replayed(shop, store, "customers", newest_complete=True)
    # What lived before is told as older than it is, and the tombstones of before are gone.
    assert done == {"customers": Rebuilt(45, 3, 0, 0)}
    assert shop.same("customers", "raw_store.customers", "id, email")
    with pytest.raises(ContractError, match="exclude each other"):
        planned(shop, store, since=1, newest_complete=True)


@pytest.mark.parametrize("harm", ["missing", "damaged", "no manifest"])
def test_a_part_that_is_missing_or_damaged_stops_it_before_anything_changed(
    shop: Pipeline, store: SourceContract, s3_store: S3Store, harm: str
) -> None:
    loads = lived(shop, store)
    shop.at_warehouse("delete from raw_store.orders where id < 100; delete from raw_store.customers")
    before = image(shop, store)
    ((key,),) = shop.at_warehouse("select manifest from ledger.load where load_id = %s", loads[2])
    client = s3(s3_store)
    if harm != "no manifest":
        listed = json.loads(client.get_object(Bucket=s3_store.bucket, Key=key)["Body"].read())
        key = next(one for one in listed["streams"] if one["stream"] == "orders")["parts"][0]["key"]
    kept = client.get_object(Bucket=s3_store.bucket, Key=key)["Body"].read()
    client.delete_object(Bucket=s3_store.bucket, Key=key)
    if harm == "damaged":
        client.put_object(Bucket=s3_store.bucket, Key=key, Body=kept[:-9] + b"x" * 9)
    with pytest.raises(NotLanded, match=key):
        replayed(shop, store)
    assert image(shop, store) == before
    assert shop.at_warehouse("select status from ledger.load where kind = 'replay'") == [("failed",)]
    assert shop.at_warehouse("select 1 from pg_tables where schemaname = 'staging_batches'") == []
    client.put_object(Bucket=s3_store.bucket, Key=key, Body=kept)
    replayed(shop, store)
    assert shop.same("orders", "raw_store.orders", COLUMNS)


def test_a_column_that_was_added_and_one_that_went_are_both_in_raw_again(shop: Pipeline) -> None:
    orders = contract("store", [ORDERS], on_schema_change="add_columns")
    shop.pull(orders)
    shop.at_source("alter table orders add column tier text not null default 'gold'")
    shop.at_source("delete from orders where id = 4")
    shop.pull(orders)
    shop.at_source(
        "alter table orders drop column note; update orders set total = 7, updated_at = now() where id = 1"
    )
    fewer = ORDERS | {"columns": {name: rule for name, rule in ORDERS["columns"].items() if name != "note"}}
    orders = contract("store", [fewer], on_schema_change="add_columns")
    shop.pull(orders)
    before = image(shop, orders)
    shop.at_warehouse(
        "alter table raw_store.orders drop column tier; delete from raw_store.orders where id > 500"
    )
    replayed(shop, orders)
    assert shop.at_warehouse("select count(tier), count(note), count(*) from raw_store.orders") == [
        (999, 857, 1000)
    ]
    assert replayed(shop, orders)["orders"].as_before
    shop.at_warehouse("drop table raw_store.orders")
    replayed(shop, orders)
    assert image(shop, orders) == before
    history = shapes(orders, "orders", shop.connect)
    assert [shape.changes for shape in history] == [(), ("+ tier text, not null",), ("- note text",)]
    assert [(shape.first_load, shape.last_load) for shape in history] == [(1, 1), (2, 2), (3, 3)]


def test_a_table_that_was_made_anew_in_another_shape_begins_there(shop: Pipeline) -> None:
    shop.pull(contract("store", [ORDERS]))
    shop.at_source("alter table orders alter customer type bigint")
    wide = ORDERS | {"columns": ORDERS["columns"] | {"customer": {"type": "bigint"}}}
    orders = contract("store", [wide])
    with pytest.raises(SchemaChanged):
        shop.pull(orders)  # raw has another type
    shop.at_warehouse("drop table raw_store.orders")
    anew = shop.pull(orders, full_refresh=True).load_id
    shop.at_source("delete from orders where id = 3")
    shop.pull(orders)
    before = image(shop, orders)
    plan = planned(shop, orders)["orders"]
    assert plan.loads[0] == anew
    assert plan.notes == (
        f"begins with load {anew}, when raw was made anew in another shape: ~ customer integer → customer bigint",
    )
    shop.at_warehouse("drop table raw_store.orders")
    replayed(shop, orders)
    assert image(shop, orders) == before


def test_what_an_audit_held_back_stays_out(shop: Pipeline, both: SourceContract) -> None:
    shop.pull(both)
    shop.at_source(
        "update orders set total = -1, updated_at = clock_timestamp() where id = 5;"
        "update customers set email = 'x@y' where id = 1"
    )
    with pytest.raises(GateFailed):
        shop.pull(both)
    lenient = both.model_copy(update={"on_failed_audit": "stop_stream"})
    shop.at_source("delete from customers where id = 50; delete from orders where customer = 50")
    assert shop.pull(lenient).rejected == ("orders",)
    before = image(shop, both)
    assert shop.at_warehouse("select email from raw_store.customers where id = 1") == [("x@y",)]
    shop.at_warehouse("delete from raw_store.orders; delete from raw_store.customers")
    replayed(shop, both)
    assert image(shop, both) == before


def test_keys_that_came_twice_are_decided_as_they_were(shop: Pipeline) -> None:
    shop.at_source(
        "create table twice (id int, v text, at timestamptz); insert into twice values (1, 'old', now() - interval '1h'),"
        " (1, 'new', now()), (2, 'only', now())"
    )
    columns = {"id": {"type": "integer"}, "v": {"type": "text"}, "at": {"type": "timestamp with time zone"}}
    stream = {
        "name": "twice",
        "table": "public.twice",
        "primary_key": ["id"],
        "mode": "incremental",
        "cursor": "at",
    }
    twice = contract("twice", [stream | {"columns": columns}], duplicates="newest_wins")
    shop.pull(twice)
    before = image(shop, twice)
    shop.at_warehouse("delete from raw_twice.twice")
    # Also when the contract promises by now that it does not happen.
    replayed(shop, twice.model_copy(update={"duplicates": "none"}))
    assert image(shop, twice) == before


def test_no_run_loads_the_source_meanwhile_and_whoever_lost_its_turn_writes_nothing(
    shop: Pipeline, store: SourceContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived(shop, store)
    now = Interval(None, datetime.now(timezone.utc))
    busy = shop.run(store, "busy")
    landed = extract(busy, now)
    with pytest.raises(LeaseHeld, match="'busy'"):
        replayed(shop, store)
    close(busy, landed.load_id)
    shop.at_warehouse("delete from raw_store.orders")

    def another(line: str) -> None:
        if line.startswith("orders: into raw"):
            return
        if line.startswith("orders"):
            with pytest.raises(LeaseHeld, match="'replay'"):
                extract(shop.run(store, "too early"), now)
            shop.at_warehouse("update ledger.lease set expires_at = now() - interval '1 second'")
            extract(shop.run(store, "replacement"), now)

    with pytest.raises(StaleLoad):
        Replay(shop.run(store, "replay"), Scope(), another).replay()
    assert shop.at_warehouse("select count(*) from raw_store.orders") == [(0,)]
    assert shop.at_warehouse("select run_id from ledger.lease") == [("replacement",)]


def test_memory_is_bounded_by_a_part_and_not_by_the_table(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = zone.LandingZone.write_rows

    def in_small_parts(self: zone.LandingZone, *where: Any, **options: Any) -> Any:
        *name, batches = where
        slices = (batch.slice(at, 500) for batch in batches for at in range(0, batch.num_rows, 500))
        return write(self, *name, slices, part_bytes=200_000, **options)

    monkeypatch.setattr(zone, "ROW_GROUP_ROWS", 500)
    monkeypatch.setattr(zone.LandingZone, "write_rows", in_small_parts)
    pipeline.at_source(
        "create table wide as select i as id, (select string_agg(md5(i || '-' || k), '') from generate_series(1, 40) k) as v"
        " from generate_series(1, 20000) i; alter table wide add primary key (id)"
    )
    wide = {
        "name": "wide",
        "table": "public.wide",
        "primary_key": ["id"],
        "mode": "snapshot",
        "deletes": "snapshot",
    }
    source = contract("wide", [wide | {"columns": {"id": {"type": "integer"}, "v": {"type": "text"}}}])
    pipeline.pull(source)
    pipeline.at_warehouse("delete from raw_wide.wide")
    rows, size, parts = planned(pipeline, source)["wide"].read
    assert (rows, parts > 30, size > 10_000_000) == (20000, True, True)
    tracemalloc.start()
    try:
        assert replayed(pipeline, source) == {"wide": Rebuilt(20000, 0, 0, 0)}
        assert tracemalloc.get_traced_memory()[1] < size / 3
    finally:
        tracemalloc.stop()
    assert pipeline.same("wide", "raw_wide.wide", "id, v")


def test_the_ledger_says_what_was_rebuilt_and_its_books_balance(
    shop: Pipeline, store: SourceContract
) -> None:
    loads = lived(shop, store)
    good = last_good("ingest", "store", shop.connect)
    shop.at_warehouse("delete from raw_store.orders where id > 900")
    replayed(shop, store)
    rows = {row["stream"]: row for row in last_loads(shop.connect, "store")}
    assert {row["kind"] for row in rows.values()} == {"replay"}
    assert [unbalanced(row) for row in rows.values()] == [[], [], [], []]
    assert (rows["orders"]["inserted"], rows["orders"]["deleted"]) == (102, 0)
    assert (rows["orders"]["replayed"].lower, rows["orders"]["replayed"].upper) == (loads[0], loads[-1] + 1)
    assert last_good("ingest", "store", shop.connect) == good


def test_an_older_ledger_takes_replays_after_an_upgrade(shop: Pipeline, both: SourceContract) -> None:
    shop.pull(both)
    shop.at_warehouse(
        "alter table ledger.load drop constraint load_kind_check; alter table ledger.load_stream drop column replayed;"
        "alter table ledger.load add constraint load_kind_check check (kind in ('regular', 'backfill'))"
    )
    with pytest.raises(TerminalError, match="load_kind_check"):
        replayed(shop, both)
    set_up_warehouse(shop.warehouse, PASSWORDS)
    assert replayed(shop, both)["orders"].as_before


def on_the_command_line(pipeline: Pipeline, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """`millrace` with these arguments, where this source and its connections are known."""
    file = folder / "contracts" / "sources" / "store.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(answers("store", STREAMS)), encoding="utf-8")
    variables = {f"AIRFLOW_CONN_{name.upper()}": _as_json(one) for name, one in pipeline.connections.items()}
    return subprocess.Popen(
        [sys.executable, "-m", "include.cli", *arguments],
        cwd=PROJECT_ROOT,
        env={
            **os.environ,
            **variables,
            "MILLRACE_HOME": str(folder),
            "MILLRACE_CONTRACTS": str(file.parents[1]),
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _as_json(one: Connection) -> str:
    return json.dumps(
        {
            "conn_type": one.conn_type, "host": one.host, "port": one.port, "login": one.login,
            "password": one.password, "schema": one.schema, "extra": one.extra,
        }
    )  # fmt: skip


def test_killed_before_it_commits_it_has_changed_nothing_and_is_done_again(
    shop: Pipeline, store: SourceContract, tmp_path: Path
) -> None:
    lived(shop, store)
    whole = image(shop, store)
    shop.at_warehouse(
        "delete from raw_store.orders where id < 500; update raw_store.customers set email = 'bad'"
    )
    damaged = image(shop, store)
    shop.at_warehouse(
        "create function public.hold() returns trigger language plpgsql as $$ begin"
        " perform pg_advisory_xact_lock_shared(4711); return new; end $$;"
        "create trigger hold before update on ledger.load for each row"
        " when (new.kind = 'replay' and new.status = 'published')"
        " execute function public.hold()"
    )
    command = ("replay", "store", "--yes")
    at_gate = (
        "select granted from pg_locks where locktype = 'advisory' and objid = 4711 and mode = 'ShareLock'"
        " and database = (select oid from pg_database where datname = current_database())"
    )
    with (
        on_the_command_line(shop, tmp_path, *command) as first,
        psycopg.connect(shop.warehouse, autocommit=True) as gate,
    ):
        gate.execute("select pg_advisory_lock(4711)")
        until(
            lambda: first.poll() is not None or shop.at_warehouse(at_gate) == [(False,)],
            "the replay to have done all but its commit",
        )
        first.send_signal(signal.SIGKILL)
    assert first.returncode == -signal.SIGKILL
    until(lambda: not shop.at_warehouse(at_gate), "the killed replay's transaction to end")
    assert image(shop, store) == damaged
    with on_the_command_line(shop, tmp_path, *command) as second:
        said = second.communicate()[0]
    assert (second.returncode, "another run is loading this source" in said, "'replay__" in said) == (
        1,
        True,
        True,
    )
    assert image(shop, store) == damaged
    shop.at_warehouse("update ledger.lease set expires_at = now() - interval '1 second'")
    with on_the_command_line(shop, tmp_path, *command) as third:
        said = third.communicate()[0]
    assert third.returncode == 0, said
    assert "raw_store.orders" in said and "has changed" in said
    assert image(shop, store) == whole
    assert shop.at_warehouse("select status from ledger.load where kind = 'replay' order by load_id") == [
        ("superseded",),
        ("published",),
    ]
    assert shop.at_warehouse("select 1 from pg_tables where schemaname = 'staging_batches'") == []


def test_the_command_shows_what_it_would_do_and_asks_first(
    shop: Pipeline, store: SourceContract, tmp_path: Path
) -> None:
    loads = lived(shop, store)
    shop.at_warehouse("delete from raw_store.orders where id < 500")
    damaged = image(shop, store)

    def said(*arguments: str, answer: str = "") -> tuple[int, str]:
        with on_the_command_line(shop, tmp_path, *arguments) as process:
            output = process.communicate(answer)[0]
        return process.returncode, output

    code, output = said("replay", "store", "--stream", "orders", "--dry-run")
    ((rows,),) = shop.at_warehouse("select sum(landed)::int from ledger.load_stream where stream = 'orders'")
    live = len([1 for (row,) in damaged["orders"] if row.endswith(",)")])
    assert code == 0 and "Change raw_store" not in output
    line = next(line.split() for line in output.splitlines() if line.startswith("raw_store.orders"))
    assert line[:8] == ["raw_store.orders", "all", "rows", str(loads[0]), "to", str(loads[-1]), "5", line[7]]
    assert f"{rows:,}" in line and f"{live:,}" in line
    code, output = said("replay", "store", answer="n\n")
    assert code == 1 and "Change raw_store" in output
    assert (
        image(shop, store) == damaged
        and shop.at_warehouse("select 1 from ledger.load where kind = 'replay'") == []
    )
    code, output = said("replay", "store", answer="y\n")
    assert code == 0 and "raw has changed" in output
    code, output = said("replay", "store", "--yes")
    assert code == 0 and "raw is what it was before" in output
    code, output = said("ledger", "store")
    assert code == 0 and output.count("replayed") == 4 and output.count("balance") == 4
    code, output = said("replay", "store", "--since", "soon")
    assert code == 2 and "2026-03-01" in output
    code, output = said("replay", "shop")
    assert code == 1 and "allowed:  store" in output
    code, output = said("schema", "store", "orders")
    assert code == 0 and f"loads {loads[0]} to {loads[-1]}" in output and "  total numeric(12,2)" in output
