"""Columns of raw that get a wider type, under what reads them, and whatever else comes with it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit

import psycopg
import pytest

from include.core.errors import SchemaChanged
from include.flows.setup import set_up_warehouse
from include.warehouse import publish as publication
from include.warehouse.bootstrap import ROLES
from tests.support.changing import DESCRIBED, VIEWS, answering, type_in_raw
from tests.support.pipeline import PASSWORDS, Pipeline, contract
from tests.support.replays import image, replayed
from tests.support.store import COLUMNS, CUSTOMERS, ORDERS


def test_a_wider_type_reaches_raw_and_its_views_stay_as_they_were(shop: Pipeline) -> None:
    evolving = answering(ORDERS | {"history": "append"}, CUSTOMERS, widened="evolve")
    shop.pull(evolving)
    shop.at_warehouse(VIEWS)
    before = shop.at_warehouse(DESCRIBED)
    shop.at_source("delete from orders where id = 9")
    shop.pull(evolving)
    shop.at_source("alter table orders alter customer type bigint, alter total type numeric(20,3)")
    shop.at_source("update orders set customer = 5000000000, updated_at = clock_timestamp() where id = 1")
    load = shop.pull(evolving).load_id
    assert shop.same("orders", "raw_store.orders", COLUMNS)
    assert [type_in_raw(shop, name) for name in ("customer", "total")] == ["bigint", "numeric(20,3)"]
    assert type_in_raw(shop, "customer", "raw_store.orders__history") == "bigint"
    assert shop.at_warehouse(DESCRIBED) == before
    assert shop.at_warehouse("select count(*) from dev_ann.totals where customer = 5000000000") == [(1,)]
    # a row that is gone from the source keeps its values
    assert shop.at_warehouse("select total::text from raw_store.orders where id = 9") == [("3.000",)]
    kinds = "select c ->> 'kind', c ->> 'answer' from ledger.load_stream, jsonb_array_elements(changes) c where load_id = %s"
    assert shop.at_warehouse(kinds, load) == [("widened", "evolve")] * 2
    assert shop.pull(evolving).changed["orders"] == 0
    after = image(shop, evolving)
    shop.at_warehouse("delete from raw_store.orders where id between 3 and 20")
    replayed(shop, evolving)
    assert image(shop, evolving) == after


def test_what_reads_the_column_and_cannot_be_made_again_keeps_raw_as_it_was(shop: Pipeline) -> None:
    evolving = answering(widened="evolve")
    shop.pull(evolving)
    shop.at_warehouse(
        "create schema other; create materialized view other.m as select customer from raw_store.orders"
    )
    before = image(shop, evolving)
    shop.at_source("alter table orders alter customer type bigint")
    with pytest.raises(SchemaChanged, match=r"other\.m reads the column"):
        shop.pull(evolving)
    assert image(shop, evolving) == before and type_in_raw(shop, "customer") == "integer"
    shop.at_warehouse("drop materialized view other.m")
    shop.pull(evolving)
    assert type_in_raw(shop, "customer") == "bigint"


def test_a_crash_while_a_column_is_widened_leaves_raw_as_it_was(
    shop: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    evolving = answering(widened="evolve", new_column="evolve")
    shop.pull(evolving)
    shop.at_warehouse(VIEWS)
    before = image(shop, evolving), shop.at_warehouse(DESCRIBED)
    shop.at_source("alter table orders alter customer type bigint, add column tier int default 3")

    def die(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(publication, "merge", die)
        with pytest.raises(KeyboardInterrupt):
            shop.pull(evolving)
    assert (image(shop, evolving), shop.at_warehouse(DESCRIBED)) == before
    assert type_in_raw(shop, "customer") == "integer"
    shop.pull(evolving)
    assert type_in_raw(shop, "customer") == "bigint"
    assert shop.same("orders", "raw_store.orders", COLUMNS + ", tier")


def test_who_loads_cannot_have_the_administrator_run_anything_else(shop: Pipeline) -> None:
    shop.pull(answering())
    as_loader = shop.connect("warehouse_loader").postgres_uri()
    call = "select ledger.retype_column(%s::regclass, 'customer', %s)"
    with psycopg.connect(as_loader, autocommit=True) as session:
        session.execute("create type pg_temp.mine as enum ('a')")
        for table, kind in (
            ("raw_store.orders", "mine"),
            ("raw_store.orders", "bigint; drop table ledger.lease"),
            ("raw_store.orders", "bigint using (1)"),
            ("raw_store.orders", "bigint, owner to millrace_analyst"),
            ("ledger.gate_result", "bigint"),
        ):
            with pytest.raises(psycopg.errors.RaiseException, match=r"not the name|no table of|not built in"):
                session.execute(call, (table, kind))
        session.execute(
            "create function raw_store.mine(int) returns bool language sql as 'select true';"
            "alter table raw_store.orders add check (raw_store.mine(customer))"
        )
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="more than columns and a key"):
            session.execute(call, ("raw_store.orders", "bigint"))
    developer = shop.connect("warehouse_developer").postgres_uri()
    with psycopg.connect(developer) as session, pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute(call, ("raw_store.orders", "bigint"))


STEPS = (
    "alter table t alter {a} type {wide}", "alter table t alter {a} type {wide}", "alter table t alter {a} type {narrow}",
    "alter table t rename {a} to n{i}", "alter table t drop column {a}", "alter table t add column n{i} int default 7",
    "alter table t add column n{i} varchar(5) default 'x'", "delete from t where id % 9 = {i} % 9",
    "update t set at = clock_timestamp() where id % 5 = {i} % 5",
    "insert into t (id) select {i} * 100 + x from generate_series(1, 20) x",
)  # fmt: skip
WIDE = {"smallint": "integer", "integer": "bigint", "bigint": "numeric", "numeric(8,2)": "numeric(12,4)"}
WIDE |= {
    "character varying(5)": "character varying(9)",
    "character varying(9)": "text",
    "real": "double precision",
}
NARROW = {"bigint": "integer", "integer": "smallint", "numeric": "bigint", "text": "character varying(5)"}


@pytest.mark.parametrize("seed", range(4))
def test_whatever_evolves_raw_is_the_source_and_a_replay_is_raw(pipeline: Pipeline, seed: int) -> None:
    chance = random.Random(seed)
    pipeline.at_source(
        "create table t (id int primary key, at timestamptz not null default clock_timestamp(),"
        " a smallint, b varchar(5) default 'b', c numeric(8,2) default 1.5, d real default 0.1, e int default 3);"
        "insert into t (id) select generate_series(1, 100)"
    )
    kinds = (
        "integer",
        "timestamp with time zone",
        "smallint",
        "character varying(5)",
        "numeric(8,2)",
        "real",
        "integer",
    )
    stream = {
        "name": "t", "table": "public.t", "primary_key": ["id"], "mode": "incremental", "cursor": "at", "deletes": "keys",
        "max_delete_share": 1,
        "columns": {name: {"type": kind} for name, kind in zip(("id", "at", *"abcde"), kinds, strict=True)},
    }  # fmt: skip
    every = dict.fromkeys(("new_column", "widened", "narrowed", "dropped", "renamed"), "evolve")
    source = contract("grown", [stream], on_schema_change=every)
    columns = (
        "select attname, format_type(atttypid, atttypmod), attnum from pg_attribute"
        " where attrelid = 't'::regclass and attnum > 0 and not attisdropped order by attnum"
    )
    pipeline.pull(source)
    named = {number: name for name, _, number in pipeline.at_source(columns)}
    for number in range(1, 11):
        for _ in range(chance.randint(1, 2)):
            there = {name: kind for name, kind, place in pipeline.at_source(columns) if place > 2}
            step = chance.choice(STEPS)
            table = WIDE if "{wide}" in step else NARROW if "{narrow}" in step else there
            one = chance.choice(
                [name for name, kind in there.items() if kind in table or table is there] or [""]
            )
            if one or "{a}" not in step:
                kind = there.get(one, "")
                pipeline.at_source(
                    step.format(a=one, i=number * 10 + _, wide=WIDE.get(kind), narrow=NARROW.get(kind))
                )
        pipeline.pull(source)
        now = pipeline.at_source(columns)
        named |= {place: name for name, _, place in now if place not in named}
        theirs = ", ".join(name for name, _, _ in now)
        ours = ", ".join(named[place] for _, _, place in now)
        assert pipeline.at_source(f"select ({theirs})::text from t order by 1") == pipeline.at_warehouse(
            f"select ({ours})::text from raw_grown.t where _deleted_at is null order by 1"
        )
    before = image(pipeline, source)
    assert all(done.as_before for done in replayed(pipeline, source).values())
    pipeline.at_warehouse("drop table raw_grown.t")
    replayed(pipeline, source)
    assert image(pipeline, source) == before


def test_an_administrator_of_the_warehouse_need_not_be_a_superuser(
    shop: Pipeline, database: Callable[..., str]
) -> None:
    warehouse = database("warehouse")
    with psycopg.connect(warehouse, autocommit=True) as session:
        session.execute("drop role if exists keeper; create role keeper login createrole password 'keeper'")
        for role in ROLES:
            session.execute(f"grant {role} to keeper with admin option".encode())
        session.execute(f"alter database {session.info.dbname} owner to keeper".encode())
    where = urlsplit(warehouse)
    keeper = f"postgresql://keeper:keeper@{where.hostname}:{where.port}{where.path}"
    set_up_warehouse(keeper, PASSWORDS)
    roles = {
        name: replace(found, schema=where.path.lstrip("/"))
        for name, found in shop.connections.items()
        if name.startswith("warehouse_")
    }
    owned = Pipeline(shop.source, warehouse, shop.connections | roles)
    evolving = answering(widened="evolve")
    owned.pull(evolving)
    with psycopg.connect(warehouse, autocommit=True) as session:
        session.execute(VIEWS.encode())
    before = owned.at_warehouse(DESCRIBED)
    owned.at_source("alter table orders alter customer type bigint")
    owned.pull(evolving)
    assert type_in_raw(owned, "customer") == "bigint" and owned.at_warehouse(DESCRIBED) == before
    # Somebody's view whose owner it is no member of stays, and so does everything else.
    owned.at_warehouse("create view dev_ann.foreign_one as select customer from raw_store.orders")
    owned.at_source("alter table orders alter customer type numeric")
    with pytest.raises(SchemaChanged, match=r"must be (owner|able to SET ROLE)"):
        owned.pull(evolving)
    assert type_in_raw(owned, "customer") == "bigint"
    with psycopg.connect(warehouse, autocommit=True) as session:
        session.execute("drop owned by reader")
