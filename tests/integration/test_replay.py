"""Raw from the landing zone alone: what was damaged comes out as it was, and what is right is not touched."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import pytest

from include.core.contracts import SourceContract
from include.core.errors import (
    ContractError,
    TerminalError,
)
from include.flows.books import unbalanced
from include.flows.setup import set_up_warehouse
from include.flows.status import last_good, last_loads
from include.landing import parts as landing_parts
from include.landing import zone
from include.warehouse.rebuild import Held, Rebuilt
from tests.support.pipeline import PASSWORDS, Pipeline, contract
from tests.support.replays import SAME, image, lived, planned, replayed, source_away
from tests.support.store import COLUMNS


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


def test_memory_is_bounded_by_a_part_and_not_by_the_table(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = zone.LandingZone.write_rows

    def in_small_parts(self: zone.LandingZone, *where: Any, **options: Any) -> Any:
        *name, batches = where
        slices = (batch.slice(at, 500) for batch in batches for at in range(0, batch.num_rows, 500))
        return write(self, *name, slices, sizes=landing_parts.Sizes(part=200_000), **options)

    monkeypatch.setattr(landing_parts, "ROW_GROUP_ROWS", 500)
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
        "comment on schema ledger is null;"
        "alter table ledger.load drop constraint load_kind_check; alter table ledger.load_stream drop column replayed;"
        "alter table ledger.load add constraint load_kind_check check (kind in ('regular', 'backfill'))"
    )
    with pytest.raises(TerminalError, match="load_kind_check"):
        replayed(shop, both)
    set_up_warehouse(shop.warehouse, PASSWORDS)
    assert replayed(shop, both)["orders"].as_before
