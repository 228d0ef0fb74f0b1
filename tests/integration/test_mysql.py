"""MariaDB as a source, from its tables to raw."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pymysql
import pytest
from pydantic import ValidationError

from include.core.contracts import SourceContract
from include.core.errors import (
    ContractError,
    MillraceError,
    SchemaChanged,
    SourceForbidden,
    TerminalError,
    TransientError,
    TypeNotExact,
    Unreachable,
)
from include.core.interval import Interval
from include.sources import open_source
from tests.support.mariadb import MariaDB
from tests.support.pipeline import Pipeline, contract

ORDERS: dict[str, Any] = {
    "name": "orders",
    "table": "shop.orders",
    "mode": "snapshot",
    "deletes": "snapshot",
    "max_delete_share": 1,
    "primary_key": ["id"],
    "columns": {
        "id": {"type": "int(11)"},
        "customer": {"type": "varchar(40)"},
        "total": {"type": "decimal(12,2)"},
        "updated_at": {"type": "timestamp(6)"},
    },
}
INCREMENT = {"mode": "incremental", "cursor": "updated_at", "deletes": "keys"}


@pytest.fixture
def shop(from_maria: Pipeline, maria: MariaDB) -> Pipeline:
    maria.run(
        "create table shop.orders (id int primary key, customer varchar(40), total decimal(12,2) not null,"
        " updated_at timestamp(6) not null default current_timestamp(6) on update current_timestamp(6))",
        "insert into shop.orders (id, customer, total) select seq, nullif(concat('Zoë ', seq), 'Zoë 3'), seq / 3"
        " from shop.seq_1_to_1000",
    )
    return from_maria


def store(*streams: dict[str, Any], **fields: Any) -> SourceContract:
    return contract("store", list(streams), **({"kind": "mysql"} | fields))


def picture(database: MariaDB, source: SourceContract, **connection: Any) -> Any:
    """A snapshot of the source, without a warehouse."""
    return open_source(source, database.connection(**connection)).snapshot(list(source.streams))


def same(pipeline: Pipeline, database: MariaDB) -> None:
    ours = database.run(
        "set time_zone = '+00:00'",
        "select id, customer, cast(total as char), cast(updated_at as char) from shop.orders order by id",
    )
    theirs = pipeline.at_warehouse(
        "select id, customer, total::text, to_char(updated_at, 'YYYY-MM-DD HH24:MI:SS.US') from raw_store.orders"
        " where _deleted_at is null order by id"
    )
    assert list(ours) == theirs


@pytest.mark.parametrize("stream", [ORDERS, ORDERS | INCREMENT], ids=["snapshot", "incremental"])
def test_changes_and_deletes_arrive(shop: Pipeline, maria: MariaDB, stream: dict[str, Any]) -> None:
    source = store(stream)
    shop.pull(source)
    same(shop, maria)
    maria.run(
        "update shop.orders set customer = '' where id = 2",
        "delete from shop.orders where id = 5",
        "insert into shop.orders (id, customer, total) values (2000, 'Ünal', 1)",
    )
    (changed,) = shop.pull(source).streams
    same(shop, maria)
    if stream["mode"] == "incremental":
        # what lies between the interval's end and the snapshot comes again
        assert changed["extracted"] < 1000 or changed["watermark_from"]
    ((deleted,),) = shop.at_warehouse("select _deleted_at is not null from raw_store.orders where id = 5")
    assert deleted
    (again,) = shop.pull(source).streams
    assert (again["inserted"], again["updated"], again["deleted"]) == (0, 0, 0)


def test_an_increment_reads_what_has_changed(shop: Pipeline, maria: MariaDB) -> None:
    source = store(ORDERS | INCREMENT)
    maria.run("update shop.orders set updated_at = updated_at - interval 1 day")
    shop.pull(source)
    maria.run("update shop.orders set total = 7 where id <= 10")
    (changed,) = shop.pull(source).streams
    assert (changed["extracted"], changed["updated"]) == (10, 10)
    same(shop, maria)


def test_a_stamp_that_is_no_time_is_not_passed_over(shop: Pipeline, maria: MariaDB) -> None:
    columns = ORDERS["columns"] | {"updated_at": {"type": "datetime"}}
    source = store(ORDERS | INCREMENT | {"columns": columns})
    maria.run("alter table shop.orders modify updated_at datetime null")
    shop.pull(source)
    maria.run("insert into shop.orders values (2001, 'no stamp', 1, null)")
    shop.pull(source)
    assert shop.at_warehouse("select customer from raw_store.orders where id = 2001") == [("no stamp",)]
    maria.run("set sql_mode = ''", "insert into shop.orders values (2002, 'zero', 1, '0000-00-00 00:00:00')")
    with pytest.raises(TypeNotExact, match="updated_at"):
        shop.pull(source)


def test_all_streams_are_read_in_one_picture_and_no_table_changes_under_it(maria: MariaDB) -> None:
    maria.run(
        "create table shop.a (id int primary key)",
        "create table shop.b (id int primary key)",
        "insert into shop.a values (1)",
        "insert into shop.b values (1)",
    )
    streams = [
        {"name": name, "table": f"shop.{name}", "mode": "snapshot", "columns": {"id": {"type": "int(11)"}}}
        for name in "ab"
    ]
    source = store(*streams)
    with picture(maria, source) as snapshot:
        assert [batch.num_rows for batch in snapshot.rows(source.stream("a"))] == [1]
        maria.run("insert into shop.a values (2)", "insert into shop.b values (2)")
        for statement in ("truncate shop.b", "rename table shop.b to shop.c", "alter table shop.b add x int"):
            with pytest.raises(pymysql.err.OperationalError, match="timeout"):
                maria.run("set lock_wait_timeout = 1", statement)
        assert [batch.num_rows for batch in snapshot.rows(source.stream("b"))] == [1]
        assert [batch.num_rows for batch in snapshot.rows(source.stream("a"))] == [1]
        server, position = snapshot.server, snapshot.position
    maria.run("truncate shop.b")
    with picture(maria, source) as later:
        assert later.server == server
        assert later.position > position > (0,)


def test_readers_of_several_threads_take_turns(shop: Pipeline, maria: MariaDB) -> None:
    streams = [ORDERS | {"name": f"orders{number}"} for number in range(6)]
    source = store(*streams, impact={"connections": 6})
    shop.pull(source)
    for stream in streams:
        assert shop.at_warehouse(f"select count(*) from raw_store.{stream['name']}") == [(1000,)]


@pytest.mark.parametrize("answer", ["stop", "add_columns"])
def test_a_new_column(shop: Pipeline, maria: MariaDB, answer: str) -> None:
    source = store(ORDERS | INCREMENT, on_schema_change=answer)
    shop.pull(source)
    maria.run("alter table shop.orders add note varchar(10) not null default 'old'")
    if answer == "stop":
        with pytest.raises(SchemaChanged, match="'note': contract does not know it"):
            shop.pull(source)
        return
    shop.pull(source)
    assert shop.at_warehouse("select note, count(*) from raw_store.orders group by 1") == [("old", 1000)]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("modify total decimal(14,2) not null", r"contract says decimal\(12,2\), source has decimal\(14,2\)"),
        ("drop customer", "no such column"),
        ("drop primary key, add primary key (id, total)", "primary key"),
    ],
)
def test_a_changed_table_is_not_read(shop: Pipeline, maria: MariaDB, change: str, told: str) -> None:
    maria.run(f"alter table shop.orders {change}")
    with pytest.raises(SchemaChanged, match=told):
        shop.pull(store(ORDERS))


def test_any_spelling_of_names(from_maria: Pipeline, maria: MariaDB) -> None:
    names = ["order", "Größe %s", 'a"b', "tick`tick", "日本", "a,b", "back\\slash", "x" * 63, "semi;colon--"]
    columns = ", ".join("`" + name.replace("`", "``") + "` varchar(20)" for name in names)
    maria.run(
        "create or replace database `My ``Shop``` character set utf8mb4",
        f'create table `My ``Shop```.`Order "s" 100%` (id int primary key, {columns})',
        'create table `My ``Shop```.`order "s" 100%` (id int primary key, other int)',
    )
    values = ", ".join("'ä%%s'" for _ in names)
    maria.run(f'insert into `My ``Shop```.`Order "s" 100%` values (1, {values})')
    stream = {
        "name": "Order s",
        "table": '"My `Shop`"."Order ""s"" 100%"',
        "mode": "snapshot",
        "primary_key": ["id"],
        "columns": {"id": {"type": "int(11)"}} | {name: {"type": "varchar(20)"} for name in names},
    }
    from_maria.pull(store(stream))
    (row,) = from_maria.at_warehouse('select * from raw_store."Order s"')
    assert row[: len(names) + 1] == (1, *["ä%%s"] * len(names))
    maria.run(f'alter table `My ``Shop```.`Order "s" 100%` add `{"é" * 32}` int')
    with pytest.raises(TypeNotExact, match="63 bytes"):
        from_maria.pull(store(stream, on_schema_change="add_columns"))
    maria.run("drop database `My ``Shop```")


def test_columns_that_are_not_in_select_star_and_empty_rows(from_maria: Pipeline, maria: MariaDB) -> None:
    maria.run(
        "create table shop.t (v varchar(5) null, twice int as (n * 2) virtual, n int invisible)",
        "insert into shop.t (v, n) values (null, null), ('', 1), (null, 2)",
    )
    stream = {"name": "t", "table": "shop.t", "mode": "snapshot"}
    columns = {"v": {"type": "varchar(5)"}, "twice": {"type": "int(11)"}, "n": {"type": "int(11)"}}
    from_maria.pull(store(stream | {"columns": columns}))
    raw = "select v, twice, n from raw_store.t order by 3"
    assert from_maria.at_warehouse(raw) == [("", 2, 1), (None, 4, 2), (None, None, None)]
    hidden = {name: rule | {"ignore": True} for name, rule in columns.items() if name != "v"}
    alone = store(stream | {"columns": {"v": {"type": "varchar(5)"}} | hidden})
    with picture(maria, alone) as snapshot:
        (batch,) = snapshot.rows(alone.streams[0])
        assert sorted(batch.column(0).to_pylist(), key=str) == ["", None, None]


def test_a_row_that_is_too_long_is_refused_and_not_left_out(maria: MariaDB) -> None:
    maria.run("create table shop.t (id int primary key, a longtext, b longtext)")
    maria.run("insert into shop.t values (1, 'short', ''), (2, repeat('a', 9000000), repeat('b', 9000000))")
    columns = {"id": {"type": "int(11)"}, "a": {"type": "longtext"}, "b": {"type": "longtext"}}
    stream = {"name": "t", "table": "shop.t", "mode": "snapshot", "columns": columns}
    with picture(maria, store(stream)) as snapshot, pytest.raises(TypeNotExact, match="max_allowed_packet"):
        list(snapshot.rows(store(stream).streams[0]))
    half = store(stream | {"columns": columns | {"b": {"type": "longtext", "ignore": True}}})
    with picture(maria, half) as snapshot:
        (batch,) = snapshot.rows(half.streams[0])
        assert [len(value) for value in batch.column(1).to_pylist()] == [5, 9_000_000]


def test_a_table_without_snapshots_is_refused(maria: MariaDB) -> None:
    stream = {"name": "t", "table": "shop.t", "mode": "snapshot", "columns": {"id": {"type": "int(11)"}}}
    for engine in ("MyISAM", "Aria"):
        maria.run(f"create or replace table shop.t (id int) engine = {engine}")
        with pytest.raises(ContractError, match=f"engine {engine}"), picture(maria, store(stream)):
            pass
    maria.run("create view shop.v as select * from shop.t")
    view = store(stream | {"table": "shop.v"})
    with pytest.raises(ContractError, match="view"), picture(maria, view):
        pass


def test_who_may_not_is_told_what_is_missing(shop: Pipeline, maria: MariaDB) -> None:
    source = store(ORDERS)
    with (
        pytest.raises(TerminalError, match="Access denied") as denied,
        picture(maria, source, password="wrong"),
    ):
        pass
    assert "wrong" not in str(denied.value)
    maria.run("create or replace user shy@'%' identified by 'x'")
    with pytest.raises(ContractError, match="grant select"), picture(maria, source, user="shy", password="x"):
        pass
    maria.run("grant insert on shop.* to shy@'%'")
    with pytest.raises(SourceForbidden, match="denied"), picture(maria, source, user="shy", password="x"):
        pass
    nowhere = open_source(source, replace(maria.connection(), port=1))
    with pytest.raises(Unreachable), nowhere.snapshot([]):
        pass


def test_no_password_is_sent_in_clear_where_tls_is_asked_for(shop: Pipeline, maria: MariaDB) -> None:
    with pytest.raises(MillraceError, match=r"TLS|SSL"), picture(maria, store(ORDERS), ssl_mode="REQUIRED"):
        pass
    with pytest.raises(ContractError, match="ssl_mode"), picture(maria, store(ORDERS), ssl_mode="maybe"):
        pass


def test_a_reader_that_the_server_drops_can_come_again(shop: Pipeline, maria: MariaDB) -> None:
    maria.run(
        "insert into shop.orders (id, total, customer) select seq, 1, repeat('x', 40) from shop.seq_2000_to_400000"
    )
    source = store(ORDERS)
    (stream,) = source.streams
    with picture(maria, source) as snapshot:
        rows = snapshot.rows(stream)
        next(rows)
        ((thread,),) = maria.run(
            "select id from information_schema.processlist where info like 'select /* millrace */%'"
            " or (user = 'reader' and command = 'Sleep')"
        )
        maria.run(f"kill {thread}")
        with pytest.raises(Unreachable):
            list(rows)
        with pytest.raises(TransientError, match="is gone"):
            list(snapshot.rows(stream))
    shop.pull(source)
    same(shop, maria)


def test_a_read_that_takes_too_long_is_ended(maria: MariaDB) -> None:
    maria.run("create table shop.t (id int primary key, slow int as (id + 0) virtual)")
    maria.run("insert into shop.t (id) select seq from shop.seq_1_to_300000")
    columns = {"id": {"type": "int(11)"}, "slow": {"type": "int(11)"}}
    stream = {"name": "t", "table": "shop.t", "mode": "snapshot", "columns": columns}
    source = store(stream, impact={"statement_timeout": "1s"})
    with picture(maria, source) as snapshot, pytest.raises(TransientError, match="impact"):
        slowly(snapshot.rows(source.streams[0]))
    source = store(stream, impact={"longest_snapshot": "1s"})
    with picture(maria, source) as snapshot, pytest.raises(TerminalError, match="longest_snapshot"):
        slowly(snapshot.rows(source.streams[0]))


def slowly(batches: Iterator[Any]) -> None:
    for _ in batches:
        time.sleep(1.1)


def test_protected_values_do_not_land_and_no_error_repeats_them(shop: Pipeline, maria: MariaDB) -> None:
    columns = ORDERS["columns"] | {
        "customer": {"type": "varchar(40)", "protect": "mask"},
        "total": {"type": "decimal(12,2)", "protect": "mask"},
        "updated_at": {"type": "timestamp(6)", "protect": "mask"},
    }
    shop.pull(store(ORDERS | {"columns": columns}))
    rows = shop.at_warehouse("select distinct customer, total, updated_at from raw_store.orders where id > 3")
    assert rows == [("***", "***", "***")]


def test_another_server_or_an_earlier_state_is_refused(shop: Pipeline, maria: MariaDB) -> None:
    source = store(ORDERS)
    shop.pull(source)
    shop.at_warehouse("update ledger.watermark set position = array[(position)[1] + 1000000000000]")
    with pytest.raises(TerminalError, match="back in time"):
        shop.pull(source)
    shop.pull(source, full_refresh=True)
    shop.at_warehouse("update ledger.watermark set server = 'server_uid of another'")
    with pytest.raises(TerminalError, match="another server"):
        shop.pull(source)


def test_how_fresh_its_feeds_are(shop: Pipeline, maria: MariaDB) -> None:
    upstream = {
        "name": "till",
        "freshness_query": "select max(updated_at) from shop.orders",
        "max_age": "1h",
    }
    source = store(ORDERS, upstreams=[upstream])
    assert open_source(source, maria.connection()).stale_upstreams() == []
    maria.run("update shop.orders set updated_at = updated_at - interval 2 hour")
    (told,) = open_source(source, maria.connection()).stale_upstreams()
    assert "till" in told
    writes = store(ORDERS, upstreams=[upstream | {"freshness_query": "select 1 from shop.orders for update"}])
    with pytest.raises(MillraceError):
        open_source(writes, maria.connection()).stale_upstreams()


def test_increments_by_transaction_are_for_postgres() -> None:
    with pytest.raises(ValidationError, match="only kind: postgres has xmin"):
        store(ORDERS | INCREMENT | {"cursor": "xmin"})


def test_what_commits_late_is_not_lost(shop: Pipeline, maria: MariaDB) -> None:
    """A row that is stamped before `end` and committed after a load that ends there."""
    source = store(ORDERS | INCREMENT)
    maria.run("update shop.orders set updated_at = updated_at - interval 1 day")
    with closing(maria.session(autocommit=False)) as writer:
        writer.cursor().execute("insert into shop.orders (id, total) values (3000, 1)")
        time.sleep(0.01)
        maria.run("insert into shop.orders (id, total) values (3001, 1)")
        time.sleep(1.2)
        end = datetime.now(timezone.utc)
        reader = open_source(source, maria.connection())
        done: list[bool] = []

        def wait_and_pull() -> None:
            while not reader.horizon(end).passed:
                time.sleep(0.2)
            shop.pull(source, Interval(None, end))
            done.append(True)

        waits = threading.Thread(target=wait_and_pull)
        waits.start()
        time.sleep(2)
        assert not done
        writer.commit()
    waits.join()
    shop.pull(source)
    same(shop, maria)


def test_a_table_that_no_stream_reads_is_told_as_a_contract_writes_it(shop: Pipeline, maria: MariaDB) -> None:
    maria.run(
        "create table shop.extra (id int primary key)", "create table shop.`Two Words` (id int primary key)"
    )
    strict = {"on_schema_change": {"new_table": "freeze"}}
    with pytest.raises(SchemaChanged) as told:
        shop.pull(store(ORDERS, **strict))
    named = ["shop.extra", 'shop."Two Words"']
    assert all(f"table {name}: no stream reads it" in str(told.value) for name in named)
    assert shop.pull(store(ORDERS, unread_tables=named, **strict)).changed == {"orders": 1000}
