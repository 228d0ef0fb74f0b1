"""Increments by the transactions that wrote the rows: what a cursor would lose, what moves files, and other histories."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import psycopg
import pytest

from include.core.contracts import SourceContract
from include.core.errors import ContractError, GateFailed, TerminalError
from include.core.interval import Interval
from include.core.manifest import TransactionMark
from include.flows.extract import horizon
from include.sources.postgres.selection import REACH, History
from tests.support.by_transaction import BY_XMIN, TABLE, WRITE, marks, read, same
from tests.support.own_server import lead_to
from tests.support.pipeline import Pipeline, contract
from tests.support.store import COLUMNS, CUSTOMERS, ORDERS


@pytest.fixture
def store() -> SourceContract:
    return contract("store", [BY_XMIN])


def test_only_what_changed_moves_and_nothing_waits_for_the_horizon(
    shop: Pipeline, store: SourceContract
) -> None:
    assert horizon(shop.run(store), datetime.now(timezone.utc) + timedelta(days=1)).passed
    assert [read(shop, store), read(shop, store)] == [1000, 0]
    shop.at_source("update orders set note = 'x', updated_at = '2001-01-01Z' where id in (1, 2)")
    shop.at_source("delete from orders where id in (3, 4)")
    shop.at_source("update orders set id = 5000 where id = 5")
    published = shop.pull(store)
    assert published.changed == {"orders": 6}
    assert same(shop)
    mark, watermark = marks(shop)
    assert (mark["timeline"], watermark) == (1, None)  # no time was proved, so none is noted


def test_what_commits_late_is_not_lost_whatever_kind_of_transaction(
    shop: Pipeline, store: SourceContract
) -> None:
    shop.pull(store)
    with psycopg.connect(shop.source) as long, psycopg.connect(shop.source) as prepared:
        long.execute("savepoint one")
        long.execute(WRITE, (2001,))
        long.execute("update orders set note = 'late' where id = 1")
        long.execute("rollback to one")
        long.execute(WRITE, (2002,))
        long.execute("savepoint two")
        long.execute("update orders set note = 'late' where id = 2")
        long.execute("release two")
        prepared.execute(WRITE, (2003,))
        prepared.execute("update orders set note = 'late' where id = 3")
        prepared.execute("prepare transaction 'late'")
        for number in (3001, 3002):  # newer ones are seen, and the mark stays behind those that are open
            shop.at_source(WRITE, number)
            shop.pull(store)
        shop.at_source("update orders set note = 'newer' where id between 10 and 20")
        shop.pull(store)
        assert shop.at_warehouse("select count(*) from raw_store.orders where id in (2001, 2002, 2003)") == [
            (0,)
        ]
        mark, _ = marks(shop)
        long.commit()
        shop.pull(store)
        assert marks(shop)[0]["xid"] > mark["xid"]
        shop.pull(store)
        shop.at_source("commit prepared 'late'")
    assert read(shop, store) < 20
    assert same(shop)
    assert shop.at_warehouse("select count(*) from raw_store.orders where id > 1000") == [(4,)]
    assert read(shop, store) == 0


def test_a_backfill_leaves_it_out_and_moves_no_mark(shop: Pipeline, store: SourceContract) -> None:
    shop.pull(store)
    shop.at_source(WRITE, 2001)
    mark, _ = marks(shop)
    today = datetime.now(timezone.utc)
    assert shop.pull(store, Interval(today - timedelta(days=1), today), backfill=True).streams == ()
    assert marks(shop)[0] == mark
    assert read(shop, store) == 1
    assert marks(shop)[0]["xid"] > mark["xid"]


@pytest.mark.parametrize(
    "statement",
    ["vacuum (freeze) orders", "vacuum (full, freeze) orders", "cluster orders using orders_pkey"],
)
def test_a_vacuum_between_two_pulls_changes_nothing(
    shop: Pipeline, store: SourceContract, statement: str
) -> None:
    shop.pull(store)
    shop.at_source("update orders set note = 'before' where id = 1; delete from orders where id = 2")
    shop.at_source(statement)
    shop.at_source("update orders set note = 'after' where id = 3")
    published = shop.pull(store)
    assert published.changed == {"orders": 3}
    assert same(shop)
    # a file that is another is read whole, because nobody says what put it there
    assert published.streams[0]["extracted"] == (2 if statement == "vacuum (freeze) orders" else 999)


def test_rows_that_are_written_frozen_or_rewritten_are_read(shop: Pipeline, store: SourceContract) -> None:
    store = contract("store", [BY_XMIN | {"max_delete_share": 1}])
    shop.pull(store)
    with psycopg.connect(shop.source) as session:
        session.execute("truncate orders")
        with session.cursor().copy("copy orders (id, customer, total) from stdin (freeze)") as copy:
            copy.write("1\t1\t1.50\n2000\t2\t3.00\n")
    assert read(shop, store) == 2
    assert same(shop)
    shop.at_source("alter table orders alter total type numeric(12,2) using total * 2")
    assert read(shop, store) == 2
    assert same(shop)
    shop.at_source("truncate orders")
    assert read(shop, store) == 0
    assert same(shop)


def test_a_column_that_was_added_brings_its_values(shop: Pipeline) -> None:
    known = {name: rule for name, rule in ORDERS["columns"].items() if name != "note"}
    shop.at_source("alter table orders drop column note")
    shop.pull(contract("store", [BY_XMIN | {"columns": known}]))
    shop.at_source("alter table orders add column note text default 'old'")
    assert read(shop, contract("store", [BY_XMIN])) == 1000
    assert same(shop)


def test_old_rows_of_a_table_that_takes_the_name_are_read(shop: Pipeline, store: SourceContract) -> None:
    shop.at_source(
        "create table newer as select * from orders where id <= 900; alter table newer add primary key (id)"
    )
    shop.at_source("update newer set note = 'of the newer table' where id < 10")
    shop.pull(store)
    shop.at_source("alter table orders rename to older; alter table newer rename to orders")
    shop.pull(store)
    assert same(shop)


def test_old_rows_of_partitions_are_read_when_they_are_attached(pipeline: Pipeline) -> None:
    pipeline.at_source(
        "create table days (day int, id int, note text, primary key (day, id)) partition by range (day);"
        "create table day1 partition of days for values from (1) to (2);"
        "create table day2 (like days including all);"
        "insert into day1 select 1, i, 'one' from generate_series(1, 50) i;"
        "insert into day2 select 2, i, 'two' from generate_series(1, 30) i"
    )
    types = {"day": {"type": "integer"}, "id": {"type": "integer"}, "note": {"type": "text"}}
    stream = {"name": "days", "table": "public.days", "primary_key": ["day", "id"], "columns": types}
    source = contract("days", [BY_XMIN | stream | {"max_delete_share": 1}])
    assert read(pipeline, source) == 50
    pipeline.at_source("alter table days attach partition day2 for values from (2) to (3)")
    pipeline.at_source("update days set note = 'changed' where day = 1 and id = 1")
    assert read(pipeline, source) == 31
    assert pipeline.same("days", "raw_days.days", "day, id, note")
    pipeline.at_source(
        "update days set day = 1, id = 1000 where day = 2 and id = 7"
    )  # from one into the other
    assert read(pipeline, source) == 1
    pipeline.at_source("alter table days detach partition day1")
    assert read(pipeline, source) == 0
    assert pipeline.same("days", "raw_days.days", "day, id, note")
    pipeline.at_source("alter table days attach partition day1 for values from (1) to (2)")
    assert read(pipeline, source) == 51
    assert pipeline.same("days", "raw_days.days", "day, id, note")
    pipeline.at_source("truncate day2; insert into days values (2, 1, 'anew')")
    assert read(pipeline, source) == 1
    assert pipeline.same("days", "raw_days.days", "day, id, note")


def test_old_rows_of_a_table_that_comes_to_inherit_are_read(shop: Pipeline, store: SourceContract) -> None:
    shop.at_source(
        "create table more (like orders including all); insert into more select 5000 + id, 1, 1 from orders"
    )
    shop.pull(store)
    shop.at_source("alter table more inherit orders")
    assert read(shop, store) == 1000
    assert same(shop)
    shop.at_source("update more set note = 'changed' where id = 5001")
    assert read(shop, store) == 1
    assert same(shop)


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("create view odd as select * from orders", "public.odd, a view"),
        ("create materialized view odd as select * from orders", "public.odd, a materialised view"),
        (
            "create foreign data wrapper {0}; create server {0} foreign data wrapper {0};"
            " create table odd (like orders) partition by range (id);"
            ' create foreign table "Far" partition of odd for values from (1) to (2) server {0}',
            'public."Far", a foreign table',
        ),
    ],
)  # fmt: skip
def test_what_has_no_transactions_is_refused_by_name(shop: Pipeline, statement: str, kind: str) -> None:
    shop.at_source(statement.format("nowhere"))
    with pytest.raises(ContractError, match=kind):
        shop.pull(contract("store", [BY_XMIN | {"name": "odd", "table": "public.odd"}]))
    assert shop.at_warehouse("select count(*) from ledger.load where manifest is not null") == [(0,)]


def test_a_mark_too_far_back_or_of_another_way_of_reading_is_not_gone_on_from(
    shop: Pipeline, store: SourceContract
) -> None:
    shop.pull(store)
    shift = "update ledger.watermark set mark = jsonb_set(mark, '{xid}', to_jsonb((mark->>'xid')::bigint - %s::bigint))"
    shop.at_warehouse(shift, REACH)
    assert read(shop, store) == 1000
    assert read(shop, store) == 0
    shop.pull(contract("store", [ORDERS]))
    assert marks(shop)[0] is None
    assert read(shop, store) == 1000
    mark, watermark = marks(shop)
    assert mark and watermark  # of the load by time: a later one by time goes on from there
    assert read(shop, store, full_refresh=True) == 1000


def test_rows_that_come_again_do_not_count_as_growth(shop: Pipeline) -> None:
    store = contract("store", [BY_XMIN | {"max_rows_per_day": 50}])
    shop.pull(store)
    with psycopg.connect(shop.source) as long:
        long.execute(WRITE, (2001,))
        shop.at_source("update orders set note = 'many' where id > 100")
        for _ in range(2):
            assert read(shop, store) == 900
        long.commit()
    shop.at_source("insert into orders (id) select i from generate_series(3001, 3060) i")
    with pytest.raises(GateFailed):
        shop.pull(store)
    shop.pull(contract("store", [BY_XMIN]))  # what was held back is read again
    assert same(shop)


def test_numbers_that_have_gone_round_are_compared_rightly(pipeline: Pipeline) -> None:
    chance = random.Random(32)
    for newest in (1 << 32, (1 << 32) + 5, 3 * (1 << 32) - 1, (1 << 31) + 7, 987654321987):
        for distance in (0, 1, 5, 1 << 20, REACH - 1):
            mark = TransactionMark(newest - distance, 1, ((1, 1),), "")
            now = History(newest, newest, 1, "")
            assert now.anew(mark, (1, ((1, 1),))) == ""
            lowest = max(3, newest - (1 << 32))
            edges = [mark.xid - 1, mark.xid, newest - 1, lowest, newest - REACH, newest - REACH - 1]
            xids = [*edges, *(chance.randrange(lowest, newest) for _ in range(50))]
            xids = [xid for xid in xids if lowest <= xid < newest and xid & 0xFFFFFFFF >= 3]
            condition = now.changed(mark, (1, ((1, 1),))).as_string(None)
            found = pipeline.at_source(
                f"select full_xid from (select x, (x & 4294967295)::text::xid from unnest(%s::bigint[]) x)"
                f" as rows(full_xid, xmin) where {condition}",
                xids,
            )
            assert sorted(xid for (xid,) in found) == sorted(xid for xid in xids if xid >= mark.xid)
    far = TransactionMark(newest - REACH, 1, ((1, 1),), "")
    assert "numbers repeat" in now.anew(far, (1, ((1, 1),)))
    ahead = TransactionMark(newest + 1, 1, ((1, 1),), "")
    assert "from further back" in now.anew(ahead, (1, ((1, 1),)))


def test_a_role_that_only_reads_is_enough(shop: Pipeline, store: SourceContract) -> None:
    shop.at_source(
        "drop role if exists plain; create role plain login password 'plain'; grant select on orders to plain"
    )
    source = shop.connections["source"]
    shop.connections["source"] = replace(source, login="plain", password="plain")
    try:
        shop.pull(store)
        shop.at_source("update orders set note = 'x' where id = 1")
        assert read(shop, store) == 1
        assert same(shop)
    finally:
        shop.at_source("drop owned by plain; drop role plain")


def test_another_server_is_refused_until_everything_is_read_anew(
    shop: Pipeline, store: SourceContract, database: Callable[..., str]
) -> None:
    shop.pull(store)
    lead_to(shop, database("other"))
    shop.at_source(TABLE)
    with pytest.raises(TerminalError, match="another server"):
        shop.pull(store)
    assert read(shop, contract("store", [BY_XMIN | {"max_delete_share": 1}]), full_refresh=True) == 100
    assert same(shop)
    shop.at_source(WRITE, 5001)
    assert read(shop, store) == 1


def test_old_contracts_and_others_beside_it_are_read_as_before(shop: Pipeline) -> None:
    mixed = contract("store", [CUSTOMERS, BY_XMIN, ORDERS | {"name": "by_time"}])
    shop.pull(mixed)
    shop.at_source(WRITE, 5001)
    shop.pull(mixed)
    assert same(shop)
    assert shop.same("orders", "raw_store.by_time", COLUMNS)
    assert shop.at_warehouse("select stream from ledger.watermark where mark is not null") == [("orders",)]
    assert shop.at_warehouse("select stream from ledger.watermark where watermark is not null") == [
        ("by_time",)
    ]
