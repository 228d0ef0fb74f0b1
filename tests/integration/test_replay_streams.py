"""What a replay makes of each kind of stream, and of shapes, keys and protections that changed on the way."""

from __future__ import annotations

from typing import Any

import pytest

from include.core.contracts import SourceContract
from include.core.errors import (
    GateFailed,
    SchemaChanged,
)
from include.flows.shapes import shapes
from tests.support.pipeline import Pipeline, contract
from tests.support.replays import image, planned, replayed, source_away
from tests.support.store import COLUMNS, CUSTOMERS, ORDERS


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
    shop.at_source("alter table orders alter customer type text")
    other = ORDERS | {"columns": ORDERS["columns"] | {"customer": {"type": "text"}}}
    orders = contract("store", [other])
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
        f"begins with load {anew}, when raw was made anew in another shape: ~ customer integer → customer text",
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


def test_a_protection_that_came_later_is_not_undone(shop: Pipeline) -> None:
    def people(**rule: Any) -> SourceContract:
        email = {"type": "text", **rule}
        return contract("store", [CUSTOMERS | {"columns": {"id": {"type": "integer"}, "email": email}}])

    shop.pull(people())
    shop.at_source("delete from customers where id = 50")
    shop.pull(people(protect="mask"))
    shop.at_source("update customers set id = 51 where id = 1")
    shop.pull(people(protect="mask"))
    live = "select id, email from raw_store.customers where _deleted_at is null order by id"
    before = shop.at_warehouse(live)
    assert {email for _, email in before} == {"***"}
    shop.at_warehouse("delete from raw_store.customers where id > 10")
    replayed(shop, people(protect="mask"))
    assert shop.at_warehouse(live) == before
    # neither does a tombstone of before show what was there
    assert shop.at_warehouse("select count(*) from raw_store.customers where email like '%@%'") == [(0,)]


def test_a_history_stays_as_it_is(shop: Pipeline) -> None:
    source = contract("store", [CUSTOMERS | {"history": "append"}])
    shop.pull(source)
    shop.at_source(
        "update customers set email = 'new@example.com' where id = 1; delete from customers where id = 2"
    )
    shop.pull(source)
    kept = "select c::text from raw_store.customers__history as c order by 1"
    raw, history = image(shop, source), shop.at_warehouse(kept)
    shop.at_warehouse("update raw_store.customers set email = 'bad'")
    assert replayed(shop, source)["customers"].updated == 50
    assert (image(shop, source), shop.at_warehouse(kept)) == (raw, history)


def test_increments_by_transaction_are_replayed_and_go_on(shop: Pipeline) -> None:
    source = contract("store", [CUSTOMERS, ORDERS | {"cursor": "xmin"}])
    shop.pull(source)
    shop.at_source("update orders set note = 'by hand' where id = 3; delete from orders where id = 4")
    shop.pull(source)
    raw, marks = image(shop, source), shop.at_warehouse("select * from ledger.watermark order by 1, 2")
    shop.at_warehouse("delete from raw_store.orders where id < 100")
    with source_away(shop):
        assert replayed(shop, source, "orders")["orders"].inserted == 99
    assert image(shop, source) == raw
    assert shop.at_warehouse("select * from ledger.watermark order by 1, 2") == marks
    shop.at_source("update orders set note = 'again' where id = 5")
    assert shop.pull(source).changed == {"customers": 0, "orders": 1}
    assert shop.same("orders", "raw_store.orders", COLUMNS)
