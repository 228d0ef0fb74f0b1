"""Each kind of schema change at the source, and each answer that a contract may give to it."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from include.cli.main import app
from include.core.contracts import SourceContract
from include.core.errors import GateFailed, SchemaChanged
from include.core.interval import Interval
from include.flows import extract, load, publish
from include.flows.shapes import shapes
from tests.support.changing import answering, type_in_raw
from tests.support.pipeline import Pipeline, answers
from tests.support.replays import image, replayed
from tests.support.store import COLUMNS, CUSTOMERS, ORDERS


def test_a_narrower_type_leaves_raw_as_wide_as_it_is(shop: Pipeline) -> None:
    evolving = answering(narrowed="evolve")
    shop.pull(evolving)
    shop.at_source("alter table orders alter customer type smallint, alter note type varchar(4)")
    shop.at_source("insert into orders (id, customer, total, note) values (2000, 7, 1.5, 'abcd')")
    shop.pull(evolving)
    assert shop.same("orders", "raw_store.orders", COLUMNS)
    assert [type_in_raw(shop, name) for name in ("customer", "note")] == ["integer", "text"]
    after = image(shop, evolving)
    shop.at_warehouse("drop table raw_store.orders")
    replayed(shop, evolving)
    assert image(shop, evolving) == after


def test_a_column_that_goes_keeps_its_values_in_raw(shop: Pipeline) -> None:
    ruled = ORDERS | {"columns": ORDERS["columns"] | {"note": {"type": "text", "pattern": "^n"}}}
    evolving = answering(ruled, CUSTOMERS, dropped="evolve")
    shop.pull(evolving)
    shop.at_source(
        "alter table orders drop column note; insert into orders (id, customer, total) values (2000, 1, 1);"
        "update orders set total = 7, updated_at = clock_timestamp() where id = 1"
    )
    shop.pull(evolving)
    assert shop.at_warehouse("select id, note, total::text from raw_store.orders where id in (1, 2000) order by 1") == [
        (1, "n1", "7.00"),
        (2000, None, "1.00"),
    ]  # fmt: skip
    assert shop.same("orders", "raw_store.orders", COLUMNS.replace("note, ", ""))


@pytest.mark.parametrize("column", ["id", "updated_at"])
def test_what_a_stream_is_read_or_merged_by_cannot_go(shop: Pipeline, column: str) -> None:
    evolving = answering(dropped="evolve")
    shop.pull(evolving)
    shop.at_source(f"alter table orders drop column {column}")
    with pytest.raises(SchemaChanged, match="cannot be read or merged without it"):
        shop.pull(evolving)


def test_a_renamed_column_is_read_under_its_name_in_the_contract(shop: Pipeline) -> None:
    hidden = {"type": "text", "protect": "mask"}
    evolving = answering(
        ORDERS, CUSTOMERS | {"columns": CUSTOMERS["columns"] | {"email": hidden}}, renamed="evolve", new_column="evolve"
    )  # fmt: skip
    shop.pull(evolving)
    shop.at_source(
        "alter table orders rename id to number; alter table orders rename updated_at to touched;"
        "alter table customers rename email to mail; alter table orders add column id text default 'x'"
    )
    with pytest.raises(SchemaChanged, match="its name is that of another column"):
        shop.pull(evolving)
    shop.at_source("alter table orders drop column id; delete from orders where number = 4")
    shop.at_source("update orders set total = 8, touched = clock_timestamp() where number = 3")
    shop.at_source("insert into customers values (51, 'somebody@example.com')")
    for again in range(2):
        published = shop.pull(evolving)
        assert published.changed == (
            {"orders": 2, "customers": 1} if not again else {"orders": 0, "customers": 0}
        )
        theirs = "number, customer, total, note, extra, touched"
        assert shop.at_source(f"select ({theirs})::text from orders order by 1") == shop.at_warehouse(
            f"select ({COLUMNS})::text from raw_store.orders where _deleted_at is null order by 1"
        )
    # Read anew, and from a table that was made anew, it is remembered.
    shop.pull(evolving, full_refresh=True)
    shop.at_source(
        "create table again (like customers including all); insert into again select * from customers"
    )
    shop.at_source("drop table customers; alter table again rename to customers")
    assert shop.pull(evolving).changed == {"orders": 0, "customers": 0}
    # what protected the column goes with it
    assert shop.at_warehouse("select distinct email from raw_store.customers") == [("***",)]
    assert shop.at_warehouse(
        "select count(*) from information_schema.columns where column_name in ('mail', 'touched', 'number')"
    ) == [(0,)]
    history = shapes(evolving, "customers", shop.connect)
    assert history[-1].answers == ("evolve: column 'email': the source calls it 'mail' now (renamed)",)
    assert history[-1].changes == ()


def test_two_columns_that_swap_their_names_are_told_apart(shop: Pipeline) -> None:
    shop.at_source(
        "create table pair (id int primary key, a text, b text); insert into pair values (1, 'a', 'b')"
    )
    pair = CUSTOMERS | {
        "name": "pair", "table": "public.pair",
        "columns": {"id": {"type": "integer"}, "a": {"type": "text"}, "b": {"type": "text"}},
    }  # fmt: skip
    swap = "alter table pair rename a to c; alter table pair rename b to a; alter table pair rename c to b"
    strict, evolving = answering(pair), answering(pair, renamed="evolve")
    shop.pull(strict)
    shop.at_source(swap)
    with pytest.raises(SchemaChanged, match="column 'a': the source calls it 'b' now"):
        shop.pull(strict)
    assert shop.pull(evolving).changed == {"pair": 0}
    # Agreed: the contract cannot say it in other words, so all is read anew by the names that it has.
    assert shop.pull(strict, full_refresh=True).changed == {"pair": 1}
    assert shop.at_warehouse("select a, b from raw_store.pair") == [("b", "a")]
    assert shop.pull(strict).changed == {"pair": 0}


def test_a_column_that_was_made_anew_is_read_in_rows_without_a_new_stamp(shop: Pipeline) -> None:
    shop.at_source("alter table orders add column tier text default 'old'")
    tiered = answering(ORDERS | {"columns": ORDERS["columns"] | {"tier": {"type": "text"}}})
    shop.pull(tiered)
    shop.at_source(
        "alter table orders drop column tier; alter table orders add column tier text default 'new'"
    )
    past = Interval(datetime(2001, 1, 1, tzinfo=timezone.utc), datetime(2001, 1, 2, tzinfo=timezone.utc))
    shop.pull(tiered, past, backfill=True)  # which sees the new column, and none of its rows
    assert shop.pull(tiered).changed == {"orders": 1000}
    assert shop.same("orders", "raw_store.orders", COLUMNS + ", tier")
    assert shop.pull(tiered).changed == {"orders": 0}


def test_a_batch_that_fails_its_audit_stops_the_source_beside_a_quarantined_one(shop: Pipeline) -> None:
    holding = answering(widened="quarantine")
    shop.pull(holding)
    shop.at_source(
        "alter table orders alter customer type bigint; insert into customers values (51, 'no address')"
    )
    for _again in range(2):
        with pytest.raises(GateFailed, match="received: customers\n"):
            shop.pull(holding)
    assert shop.at_warehouse("select count(*) from raw_store.customers") == [(50,)]


def test_a_new_table_is_one_that_no_stream_reads_and_nobody_has_named(shop: Pipeline) -> None:
    shop.at_source(
        "create table parts (id int, day date) partition by range (day);"
        "create table parts_1 partition of parts for values from ('2026-01-01') to ('2027-01-01');"
        'create view seen as select 1; create schema other; create table other.t (); create table "Re: funds" ()'
    )
    shop.pull(answering())
    with pytest.raises(SchemaChanged) as caught:
        shop.pull(answering(new_table="freeze"))
    tables = [line for line in str(caught.value).splitlines() if "(new_table)" in line]
    assert [line.partition("table ")[2].partition(":")[0] for line in tables] == [
        'public."Re',
        "public.parts",
    ]
    named = answering(new_table="freeze").model_copy(
        update={"unread_tables": ('public."Re: funds"', "public.parts")}
    )
    shop.pull(named)


def test_new_columns_may_be_left_out_and_are_where_something_personal_went(shop: Pipeline) -> None:
    ignoring, evolving = answering(new_column="ignore"), answering(new_column="evolve", dropped="evolve")
    shop.pull(ignoring)
    shop.at_source("alter table orders add column tier text default 'gold'")
    load = shop.pull(ignoring).load_id
    told = (
        "select changes -> 0 ->> 'answer' from ledger.load_stream where changes is not null and load_id = %s"
    )
    assert shop.at_warehouse(told, load) == [("ignore",)]
    assert shop.same("orders", "raw_store.orders", COLUMNS)
    assert "tier" not in shapes(ignoring, "orders", shop.connect)[-1].shape.names  # nor did it land
    # email is declared as personal; nobody has said what mail is
    shop.at_source(
        "alter table customers drop column email; alter table customers add column mail text default 'a@b'"
    )
    with pytest.raises(SchemaChanged, match="may be what email was"):
        shop.pull(evolving)
    assert shop.at_warehouse(
        "select count(*) from information_schema.columns where column_name = 'mail'"
    ) == [(0,)]


def test_a_freeze_names_every_difference_of_every_stream_and_what_to_write(shop: Pipeline) -> None:
    strict = answering(new_table="freeze")
    shop.pull(strict)
    loads = "select count(*) from ledger.load where manifest is not null"
    before = image(shop, strict), shop.at_warehouse(loads)
    shop.at_source(
        "alter table orders rename note to remark; alter table orders alter extra type json, alter customer type bigint;"
        'alter table customers add column "Say: what" numeric(9,2), drop constraint customers_pkey, add primary key (email);'
        "create table invoices (id int)"
    )
    with pytest.raises(SchemaChanged) as caught:
        shop.pull(strict)
    for line in (
        "orders: column 'note': the source calls it 'remark' now (renamed)",
        "orders: column 'extra': contract says jsonb, source has json (retyped)",
        "orders: column 'customer': contract says integer, source has bigint (widened)",
        "customers: column 'Say: what': contract does not know it, source has numeric(9,2) (new_column)",
        "customers: primary key: contract says (id), source has (email) (changed_key)",
        "table public.invoices: no stream reads it (new_table)",
        "remark:  # was note; keep its other fields",
        'extra: {type: json}  # was jsonb; keep its other fields',
        '"Say: what": {type: "numeric(9,2)"}  # new',
        "primary_key: [email]",
    ):  # fmt: skip
        assert line in str(caught.value)
    assert (image(shop, strict), shop.at_warehouse(loads)) == before


@pytest.mark.parametrize(
    ("kind", "change", "corrected"),
    [
        ("new_column", "alter table orders add column tier text default 'x'", {"tier": {"type": "text"}}),
        ("widened", "alter table orders alter customer type bigint", {"customer": {"type": "bigint"}}),
        ("narrowed", "alter table orders alter customer type smallint", {"customer": {"type": "smallint"}}),
        ("dropped", "alter table orders drop column note", {"note": None}),
        ("renamed", "alter table orders rename note to remark", {"note": None, "remark": {"type": "text"}}),
        ("retyped", "alter table orders alter note type bytea using note::bytea", {"note": {"type": "bytea"}}),
    ],
)  # fmt: skip
def test_a_quarantined_stream_is_held_back_and_the_others_go_on(
    shop: Pipeline, kind: str, change: str, corrected: dict[str, Any]
) -> None:
    holding = answering(**{kind: "quarantine"})
    shop.pull(holding)
    before = shop.at_warehouse("select * from raw_store.orders order by id")
    shop.at_source(change)
    shop.at_source(
        "insert into orders (id, customer, total) values (2000, 1, 1); insert into customers values (51, 'x@y')"
    )
    for _again in range(2):
        published = shop.pull(holding)
        assert published.rejected == ("orders",)
        assert shop.at_warehouse("select * from raw_store.orders order by id") == before
        assert shop.same("customers", "raw_store.customers", "id, email")
    failures = shop.at_warehouse(
        "select failures::text from ledger.load_stream where status = 'rejected' limit 1"
    )
    assert f"({kind})" in failures[0][0]
    columns = {name: rule for name, rule in (ORDERS["columns"] | corrected).items() if rule}
    if kind == "retyped":
        shop.at_warehouse("drop table raw_store.orders")
    shop.pull(answering(ORDERS | {"columns": columns}, CUSTOMERS), full_refresh=kind == "retyped")
    assert shop.same("orders", "raw_store.orders", ", ".join(columns))


def test_what_refers_to_a_quarantined_stream_is_held_back_with_it_also_at_a_second_try(
    shop: Pipeline, both: SourceContract
) -> None:
    holding = both.model_copy(
        update={"on_schema_change": answering(changed_key="quarantine").on_schema_change}
    )
    shop.pull(holding)
    shop.at_source("alter table customers drop constraint customers_pkey, add primary key (email)")
    run = shop.run(holding)
    landed = extract.extract(run, Interval(None, datetime.now(timezone.utc)))
    for stream in landed.streams:
        load.stage(run, landed.load_id, stream)
        load.audit(run, landed.load_id, stream)
    for _again in range(2):
        assert publish.publish(run, landed.load_id).rejected == ("customers", "orders")


def test_the_check_of_a_contract_prints_what_to_write(
    shop: Pipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    passing = {"new_column": "ignore", "new_table": "freeze"}
    path = tmp_path / "sources" / "store.yaml"
    path.parent.mkdir()
    path.write_text(
        yaml.safe_dump(answers("store", [ORDERS, CUSTOMERS]) | {"on_schema_change": passing}),
        encoding="utf-8",
    )
    monkeypatch.setenv("MILLRACE_CONTRACTS", str(tmp_path))
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRFLOW_CONN_SOURCE", shop.source)
    shop.at_source(
        "alter table orders add column tier text; alter table customers alter email type varchar(99)"
    )
    shop.at_source("create table invoices (id int)")
    told = CliRunner().invoke(app, ["contract", "check", "store", "--connect"])
    assert told.exit_code == 1
    for text in (
        "ignore: column 'tier': contract does not know it, source has text (new_column)",
        "tier: {type: text}  # new",
        "customers: column 'email': contract says text, source has character varying(99) (narrowed)",
        "email: {type: character varying(99)}  # was text; keep its other fields",
        "table public.invoices: no stream reads it (new_table)",
        "2 faults, 1 warnings",
    ):
        assert text in " ".join(told.output.split()) or text in told.output, told.output
