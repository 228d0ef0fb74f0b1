"""Raw is held against its source: what was damaged, lost or never told is found and named."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest
from pydantic import ValidationError

from include.core.connection import parse_connection
from include.core.contracts import SourceContract
from include.core.errors import BooksDoNotBalance
from include.core.interval import Interval
from include.flows.reconcile import reconcile
from include.warehouse.connect import connected
from tests.support import clinic as clinics
from tests.support.pipeline import Pipeline, contract
from tests.support.stack import PostgresServer
from tests.support.store import CUSTOMERS, ORDERS


def found(pipeline: Pipeline) -> dict[str, tuple[int, int, int]]:
    """Of the newest comparison: rows there, rows here, buckets that differ."""
    rows = pipeline.at_warehouse(
        "select stream, source_rows, raw_rows, differing from ledger.reconciliation"
        " where load_id = (select max(load_id) from ledger.reconciliation)"
    )
    return {stream: tuple(numbers) for stream, *numbers in rows}  # type: ignore[misc]


def test_what_is_equal_is_noted_as_equal(shop: Pipeline, both: SourceContract) -> None:
    shop.pull(both, compare=True)
    assert found(shop) == {"customers": (50, 50, 0), "orders": (1000, 1000, 0)}
    shop.at_source("update orders set total = total + 1, updated_at = clock_timestamp() where id % 9 = 0")
    shop.at_source("delete from orders where id between 5 and 10; insert into customers values (51, null)")
    shop.pull(both, compare=True)
    assert found(shop) == {"customers": (51, 51, 0), "orders": (994, 994, 0)}


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ("update raw_store.orders set note = 'x' where id = 77", r"key \(id\) \(77\): other values in raw"),
        ("delete from raw_store.orders where id = 77", r"key \(id\) \(77\): in the source, not in raw"),
        (
            "insert into raw_store.orders (id, updated_at, _load_id, _loaded_at) values (5000, now(), 99, now())",
            r"key \(id\) \(5000\): in raw, not in the source",
        ),
        (
            "update raw_store.orders set _deleted_at = now() where id in (3, 4)",
            r"(?s)key \(id\) \(3\): in the source, not in raw.*key \(id\) \(4\)",
        ),
    ],
)
def test_what_was_damaged_in_raw_is_named(shop: Pipeline, both: SourceContract, harm: str, told: str) -> None:
    shop.pull(both)
    # of a load that is newer than any, so that no increment puts it right by the way
    shop.at_warehouse(harm)
    shop.at_warehouse("update raw_store.orders set _load_id = 99 where id in (3, 4, 77)")
    with pytest.raises(BooksDoNotBalance, match=told) as error:
        shop.pull(both, compare=True)
    assert "full_refresh" in str(error.value) and "customers" not in str(error.value)
    assert found(shop)["customers"] == (50, 50, 0)


def test_a_change_that_its_source_did_not_stamp_is_found_and_put_right(
    shop: Pipeline, both: SourceContract
) -> None:
    shop.pull(both)
    shop.at_source("update orders set total = 9.99 where id = 12")  # somebody's script, without a new stamp
    with pytest.raises(
        BooksDoNotBalance, match=r"orders: 1,000 rows in the source, 1,000 in raw, 1 of 4 buckets"
    ):
        shop.pull(both, compare=True)
    shop.pull(both, full_refresh=True, compare=True)
    assert found(shop)["orders"] == (1000, 1000, 0)


def test_rows_that_went_where_the_contract_says_that_none_goes(shop: Pipeline) -> None:
    never = contract("store", [ORDERS | {"deletes": "none"}])
    shop.pull(never)
    shop.at_source("delete from orders where id = 40")
    with pytest.raises(BooksDoNotBalance, match=r"key \(id\) \(40\): in raw, not in the source"):
        shop.pull(never, compare=True)


def test_it_is_done_again_when_the_contract_says_and_not_in_a_backfill(shop: Pipeline) -> None:
    daily = contract("store", [CUSTOMERS, ORDERS], reconcile="1d")
    shop.pull(daily)
    assert set(found(shop)) == {"customers", "orders"}
    done = "select count(distinct load_id) from ledger.reconciliation"
    shop.pull(daily)
    assert shop.at_warehouse(done) == [(1,)]
    shop.at_warehouse("update ledger.reconciliation set reconciled_at = now() - interval '25 hours'")
    day = datetime(2026, 3, 1, tzinfo=timezone.utc)
    shop.pull(daily, Interval(day, day + timedelta(days=1)), backfill=True)
    assert shop.at_warehouse(done) == [(1,)]
    shop.pull(daily)
    assert shop.at_warehouse(done) == [(2,)]


def test_a_task_that_is_cleared_later_says_what_was_found_then(shop: Pipeline, both: SourceContract) -> None:
    equal = shop.pull(both, run_id="equal", compare=True).load_id
    shop.at_source("update orders set total = 1 where id = 1")
    with pytest.raises(BooksDoNotBalance):
        shop.pull(both, run_id="different", compare=True)
    (different,) = shop.at_warehouse("select max(load_id) from ledger.load")[0]
    shop.pull(both, full_refresh=True)
    assert reconcile(shop.run(both, "equal"), equal) == []
    with pytest.raises(BooksDoNotBalance, match=r"key \(id\) \(1\): other values in raw"):
        reconcile(shop.run(both, "different"), different)


def test_each_stream_is_due_until_it_was_found_equal(shop: Pipeline) -> None:
    daily = contract("store", [CUSTOMERS, ORDERS], reconcile="1d")
    shop.pull(daily, only=("customers",))
    assert set(found(shop)) == {"customers"}
    shop.at_source("update orders set note = 'kept out of the log' where id = 9")
    shop.pull(daily)
    assert set(found(shop)) == {"orders"}
    shop.at_source("update orders set note = 'changed past the cursor' where id = 9")
    shop.at_warehouse(
        "update ledger.reconciliation set reconciled_at = now() - interval '2 days' where stream = 'orders'"
    )
    for _ in range(2):  # red until somebody has put it right
        with pytest.raises(BooksDoNotBalance, match="orders"):
            shop.pull(daily)
    shop.pull(daily, full_refresh=True)
    assert found(shop) == {"orders": (1000, 1000, 0)}


def test_a_renamed_column_is_compared_under_its_name_in_the_contract(shop: Pipeline) -> None:
    evolving = contract("store", [ORDERS], on_schema_change={"renamed": "evolve", "narrowed": "evolve"})
    shop.pull(evolving)
    shop.at_source("alter table orders rename note to remark")
    shop.pull(evolving, compare=True)
    assert found(shop) == {"orders": (1000, 1000, 0)}
    # what raw still has does not fit into the type that the source has now
    shop.at_source("update orders set customer = 1; alter table orders alter customer type smallint")
    shop.at_warehouse("update raw_store.orders set customer = 70000, _load_id = 99 where id = 8")
    with pytest.raises(BooksDoNotBalance, match=r"key \(id\) \(8\): other values in raw"):
        shop.pull(evolving, compare=True)


def test_a_row_that_is_there_twice_and_here_once(pipeline: Pipeline) -> None:
    pipeline.at_source("create table lines (a text); insert into lines values ('x'), ('x'), ('y')")
    source = contract("store", [_stream("lines", "public.lines", {"a": "text"}, [])])
    load = pipeline.pull(source, run_id="lines", compare=True).load_id
    assert found(pipeline) == {"lines": (3, 3, 0)}
    pipeline.at_warehouse("delete from raw_store.lines where ctid = (select min(ctid) from raw_store.lines)")
    run = pipeline.run(source, "lines")
    with connected(run.loader()) as session:  # as if the run had not ended yet
        session.execute(
            "insert into ledger.lease values ('store', %s, 'lines', now() + interval '1 minute')", (load,)
        )
    with pytest.raises(BooksDoNotBalance, match=r"row \(x\): other values in raw"):
        reconcile(run, load)


def test_a_source_in_another_encoding(postgres_server: PostgresServer, pipeline: Pipeline) -> None:
    with psycopg.connect(postgres_server.conninfo(), autocommit=True) as admin:
        admin.execute("create database latin encoding 'LATIN1' locale 'C' template template0")
        try:
            pipeline.connections["source"] = parse_connection("source", postgres_server.conninfo("latin"))
            with psycopg.connect(postgres_server.conninfo("latin")) as owner:
                owner.execute("create table names (name text primary key)")
                owner.execute("insert into names values ('Müller'), ('Zoë')")
            source = contract("store", [_stream("names", "public.names", {"name": "text"}, ["name"])])
            pipeline.pull(source, compare=True)
            assert found(pipeline) == {"names": (2, 2, 0)}
        finally:
            admin.execute("drop database latin with (force)")


def test_tables_of_any_shape(pipeline: Pipeline) -> None:
    pipeline.at_source(
        'create table "No key" (a text, b int);'
        "insert into \"No key\" values ('x', 1), ('x', 1), (null, 2), ('', 2);"
        "create type mood as enum ('so so', 'ok'); create type pair as (a int, b text);"
        "create table odd (k text, n int, f real, m mood, p pair, ms mood[], at timestamptz, d date, j jsonb, b bytea,"
        " t interval, c character(9), u numeric, primary key (k, n));"
        "insert into odd select 'k ' || i || '\"', i, i / 7.0, 'so so', row(i, '\",')::pair, '{ok,\"so so\"}',"
        " '2026-03-04 05:06:07.123456+01', '2024-02-29', '{\"a\": 1.10}', '\\x00ff', '1 mon -2 days 00:00:01.5', 'c',"
        " i / 3.0 from generate_series(1, 2000) i; insert into odd (k, n) values ('', 0)"
    )
    types = dict(
        pipeline.at_source(
            "select attname, format_type(atttypid, atttypmod) from pg_attribute"
            " where attrelid = 'odd'::regclass and attnum > 0"
        )
    )
    types |= {"m": "public.mood", "p": "public.pair", "ms": "public.mood[]"}
    streams = [
        _stream("No key", 'public."No key"', {"a": "text", "b": "integer"}, []),
        _stream("odd", "public.odd", types, ["k", "n"]),
    ]
    pipeline.pull(contract("store", streams), compare=True)
    assert found(pipeline) == {"No key": (4, 4, 0), "odd": (2001, 2001, 0)}
    # raw stays wider than what comes
    pipeline.at_source("alter table odd alter n type bigint")
    answers = {"widened": "evolve", "narrowed": "evolve"}
    pipeline.pull(contract("store", streams, on_schema_change=answers), compare=True)
    pipeline.at_source("alter table odd alter n type smallint")
    pipeline.pull(contract("store", streams, on_schema_change=answers), compare=True)
    assert found(pipeline)["odd"] == (2001, 2001, 0)


def _stream(name: str, table: str, types: dict[str, str], key: list[str]) -> dict[str, Any]:
    columns = {column: {"type": kind} for column, kind in types.items()}
    fields = {"name": name, "table": table, "primary_key": key, "columns": columns}
    return fields | {"mode": "snapshot", "deletes": "snapshot" if key else "none"}


def test_what_is_protected_is_not_compared(clinic: Pipeline) -> None:
    clinic.pull(clinics.clinic_contract(), compare=True)
    columns = dict(clinic.at_warehouse("select stream, columns from ledger.reconciliation"))
    assert columns == {"people": ["updated_at"], "visits": ["id"]}


def test_a_personal_key_is_not_shown(shop: Pipeline) -> None:
    shop.at_source("alter table customers drop constraint customers_pkey, add primary key (email)")
    source = contract("store", [CUSTOMERS | {"primary_key": ["email"]}])
    shop.pull(source)
    shop.at_warehouse("update raw_store.customers set id = -1, _load_id = 99 where id = 5")
    with pytest.raises(
        BooksDoNotBalance, match=r"key \(email\) \(personal data, md5 [0-9a-f]{8}…\): other values"
    ) as error:
        shop.pull(source, compare=True)
    assert "c5@example.com" not in str(error.value)
    told = "select count(*) from ledger.reconciliation where examples::text like '%%example.com%%'"
    assert shop.at_warehouse(told) == [(0,)]


def test_only_postgres_is_compared() -> None:
    stream = _stream("a", "shop.a", {"id": "int(11)"}, ["id"])
    with pytest.raises(ValidationError, match="only PostgreSQL writes values as the warehouse does"):
        contract("store", [stream], kind="mysql", reconcile="1d")
