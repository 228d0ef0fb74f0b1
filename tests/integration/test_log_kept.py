"""What is kept of a log: every change in the history, and loads from which raw is rebuilt."""

from __future__ import annotations

import pytest

from include.core.errors import BreakerTripped, GateFailed
from tests.support.logged import DOCS, LIFE, TABLE, begun, docs, history, read, same
from tests.support.pipeline import Pipeline, contract
from tests.support.replays import SAME, image, replayed, source_away


@pytest.fixture
def at(pipeline: Pipeline) -> Pipeline:
    pipeline.at_source(TABLE)
    return pipeline


def test_every_change_is_in_the_history_in_its_order(at: Pipeline) -> None:
    at.at_source("delete from docs where id > 3")
    store = begun(at, docs(history="append"))
    first = history(at)
    assert [row[3] for row in first] == ["insert"] * 3
    at.at_source(
        "update docs set title = 'a' where id = 1; update docs set title = 'b', body = 'short' where id = 1;"
        "update docs set title = 'c' where id = 1; delete from docs where id = 2; insert into docs values (2, 'r', 'y', 1);"
        "update docs set id = 9, title = 'm' where id = 3; insert into docs values (4, 'x', 'z', 1);"
        "delete from docs where id = 4"
    )
    at.pull(store)
    body = {row[0]: row[2] for row in first}
    assert history(at)[3:] == [
        (1, "a", body[1], "update"),
        (1, "b", "s", "update"),
        (1, "c", "s", "update"),
        (2, "t2", body[2], "delete"),
        (2, "r", "y", "insert"),
        (3, "t3", body[3], "delete"),
        (9, "m", body[3], "insert"),
        (4, "x", "z", "insert"),
        (4, "x", "z", "delete"),
    ]
    at.at_source("update docs set title = 'd'; truncate docs; insert into docs values (1, 'e', 'e', 1)")
    at.pull(store)
    assert history(at)[12:] == [
        (1, "d", "s", "update"),
        (2, "d", "y", "update"),
        (9, "d", body[3], "update"),
        (1, "d", "s", "delete"),
        (2, "d", "y", "delete"),
        (9, "d", body[3], "delete"),
        (1, "e", "e", "insert"),
    ]
    assert same(at)


def test_a_history_goes_on_when_a_stream_is_read_by_the_log_from_now_on(at: Pipeline) -> None:
    at.pull(docs(history="append", mode="snapshot", deletes="snapshot"))
    at.at_source("delete from docs where id > 1")
    store = begun(at, docs(history="append"))
    at.at_source("update docs set title = 'a' where id = 1")
    at.pull(store)
    counted = at.at_warehouse(
        "select _change, count(*), count(_seq) from raw_store.docs__history group by 1 order by 1"
    )
    assert counted == [("delete", 19, 0), ("insert", 20, 0), ("update", 1, 1)]


@pytest.mark.parametrize("deleted_rows", ["tombstone", "remove"])
def test_raw_is_rebuilt_from_the_changes_that_landed(at: Pipeline, deleted_rows: str) -> None:
    store = begun(at, docs(deleted_rows=deleted_rows))
    loads = []
    for statement in LIFE:
        at.at_source(statement)
        loads.append(at.pull(store).load_id)
        assert same(at)
    kinds = at.at_warehouse("select extracted, deleted from ledger.load_stream order by load_id")
    assert kinds == [(20, 0), (3, 1), (6, 1), (6, 17), (6, 2), (4, 0), (3, 1)]
    before = image(at, store)
    with source_away(at):
        done = replayed(at, store)["docs"]
        assert done.as_before and image(at, store) == before
        at.at_warehouse("update raw_store.docs set body = 'damaged'; delete from raw_store.docs where id = 1")
        replayed(at, store)
        assert image(at, store) == before
        at.at_warehouse("update raw_store.docs set title = 'damaged' where _load_id = %s", loads[-1])
        assert replayed(at, store, since=loads[-1]) != {"docs": SAME}
        assert image(at, store) == before
        at.at_warehouse("drop table raw_store.docs")
        replayed(at, store)
        assert image(at, store) == before
    at.at_source("update docs set title = 'goes on' where id = 1")
    at.pull(store)
    assert same(at)


def test_too_many_deletes_stop_the_load_and_wait_in_the_log(at: Pipeline) -> None:
    store = begun(at, docs(max_delete_share=0.5))
    for statement in ("delete from docs where id <= 12", "truncate docs"):
        at.at_source(statement)
        with pytest.raises(BreakerTripped):
            at.pull(store)
    assert at.at_warehouse("select count(*) from raw_store.docs where _deleted_at is null") == [(20,)]
    assert read(at, docs(max_delete_share=1)) == (13, 0, 0, 20)
    assert same(at)


def test_a_stream_that_is_held_back_gets_its_changes_with_a_later_load(at: Pipeline) -> None:
    at.at_source(TABLE.replace("docs", "other"))
    strict = {"columns": DOCS["columns"] | {"amount": {"type": "numeric(12,2)", "min": 0}}}
    streams = [DOCS | strict, DOCS | {"name": "other", "table": "public.other"}]
    store = begun(at, contract("store", streams, on_failed_audit="stop_stream"))
    for amount in (-1, -2):
        at.at_source(
            f"update docs set amount = {amount} where id = 1; update other set amount = {amount} where id = 1"
        )
        rows = {row["stream"]: row["status"] for row in at.pull(store).streams}
        assert rows == {"docs": "rejected", "other": "published"}
        assert at.same("other", "raw_store.other", "id, amount") and not same(at)
    at.at_source("update docs set amount = 3 where id = 1")
    counted = {row["stream"]: row["extracted"] for row in at.pull(store).streams}
    assert counted == {"docs": 3, "other": 0}
    assert same(at)


def test_only_the_newest_image_of_a_row_is_judged(at: Pipeline) -> None:
    columns = DOCS["columns"] | {"amount": {"type": "numeric(12,2)", "min": 0}}
    store = begun(at, docs(columns=columns, max_rows_per_day=3))
    at.at_source("update docs set amount = -1 where id = 1; update docs set amount = 1 where id = 1")
    assert read(at, store) == (2, 0, 1, 0)
    at.at_source("update docs set amount = -1 where id = 2; delete from docs where id = 2")
    assert read(at, store) == (2, 0, 0, 1)
    at.at_source(
        "insert into docs select i, 'n', 'b', 1 from generate_series(100, 102) i; update docs set title = 'x'"
    )
    assert read(at, store) == (25, 3, 19, 0)
    for statement in (
        "insert into docs select i, 'n', 'b', 1 from generate_series(200, 203) i",
        "delete from docs where id >= 200; update docs set amount = -1 where id = 3",
    ):
        at.at_source(statement)
        with pytest.raises(GateFailed):
            at.pull(store)
    assert not same(at)


def test_a_column_that_got_another_name_is_followed_under_the_old_one(at: Pipeline) -> None:
    evolve = {"on_schema_change": {"renamed": "evolve"}}
    store = begun(at, contract("store", [DOCS], **evolve))
    at.at_source("alter table docs rename title to heading; update docs set heading = 'a' where id = 1")
    at.pull(store)
    at.at_source("update docs set heading = 'b', body = 'c' where id = 2; delete from docs where id = 3")
    assert read(at, store) == (2, 0, 1, 1)
    ours = at.at_warehouse(
        "select id, title, body, amount from raw_store.docs where _deleted_at is null order by 1"
    )
    assert ours == at.at_source("select id, heading, body, amount from docs order by 1")
