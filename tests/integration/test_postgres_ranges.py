"""A table that is read in ranges of its pages gives each row once, whatever happens to it meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from include.core.contracts import SourceContract
from include.core.errors import TransientError
from include.sources import open_source
from include.sources.postgres import catalog, ranges
from tests.support.lifecycle import until
from tests.support.pipeline import Pipeline, contract

ROWS = 30_000
_WAITING = (
    "select pid from pg_stat_activity"
    " where datname = current_database() and query ilike 'copy%ctid%' and wait_event = 'ClientWrite'"
)


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "PAGES", 16)


def _contract(connections: int = 3, *names: str) -> SourceContract:
    streams = [
        {"name": name, "table": f"public.{name}", "primary_key": ["id"], "mode": "snapshot",
         "columns": {"id": {"type": "integer"}, "v": {"type": "text"}}}
        for name in names or ("big",)
    ]  # fmt: skip
    return contract("ranges", streams, impact={"connections": connections})


def _create(pipeline: Pipeline, name: str = "big", rows: int = ROWS) -> None:
    pipeline.at_source(f"create table {name} (id int primary key, v text)")
    pipeline.at_source(f"insert into {name} select i, repeat(i::text, 20) from generate_series(1, {rows}) i")


def _ids(picture: Any, source: SourceContract, name: str = "big") -> list[int]:
    found: list[int] = []
    for batch in picture.rows(source.stream(name)):
        found += batch.column("id").to_pylist()
    return sorted(found)


def _ranges(pipeline: Pipeline, source: SourceContract, name: str = "big") -> int:
    with psycopg.connect(pipeline.source) as session:
        table = catalog.find_table(session, source, source.stream(name))
        return len(ranges.page_ranges(session, {name: catalog.storage(session, *table)})[name])


@pytest.mark.parametrize("connections", [1, 2, 5])
def test_ranges_hold_each_row_once(pipeline: Pipeline, connections: int) -> None:
    _create(pipeline)
    # dead rows, whole pages of nothing at the front, in the middle and at the end, and rows that moved elsewhere
    pipeline.at_source("delete from big where id < 3000 or id between 10000 and 15000 or id > 29000")
    pipeline.at_source("vacuum (truncate off) big")
    pipeline.at_source("update big set v = v || 'x' where id % 3 = 0")
    source = _contract(connections)
    assert _ranges(pipeline, source) > 20
    wanted = [row[0] for row in pipeline.at_source("select id from big order by 1")]
    with open_source(source, pipeline.connect("source")).snapshot(list(source.streams)) as picture:
        assert _ids(picture, source) == wanted


def test_a_table_that_grows_and_changes_while_it_is_read_shows_one_moment(pipeline: Pipeline) -> None:
    _create(pipeline)
    source = _contract()
    with open_source(source, pipeline.connect("source")).snapshot(list(source.streams)) as picture:
        pipeline.at_source("insert into big select i, 'late' from generate_series(40000, 45000) i")
        batches = picture.rows(source.stream("big"))
        found = next(batches).column("id").to_pylist()
        pipeline.at_source("insert into big select i, 'later' from generate_series(50000, 60000) i")
        pipeline.at_source("update big set v = 'changed' where id % 2 = 0")
        pipeline.at_source("delete from big where id % 5 = 0")
        pipeline.at_source("vacuum big")
        for batch in batches:
            found += batch.column("id").to_pylist()
            assert not {"late", "later", "changed"} & set(batch.column("v").to_pylist())
    assert sorted(found) == list(range(1, ROWS + 1))


def test_partitions_and_children_are_read_in_ranges_of_their_own(pipeline: Pipeline) -> None:
    pipeline.at_source(
        "create table parts (id int primary key, v text) partition by range (id);"
        "create table parts_1 partition of parts for values from (0) to (25000);"
        "create table parts_2 partition of parts for values from (25000) to (90000);"
        "insert into parts select i, repeat(i::text, 20) from generate_series(1, 30000) i;"
        "create table parent (id int primary key, v text); create table child () inherits (parent);"
        "insert into parent select i, 'p' from generate_series(1, 10) i;"
        "insert into child select i, repeat(i::text, 20) from generate_series(11, 30000) i"
    )
    source = _contract(3, "parts", "parent")
    with open_source(source, pipeline.connect("source")).snapshot(list(source.streams)) as picture:
        for name in ("parts", "parent"):
            assert _ranges(pipeline, source, name) > 20
            assert _ids(picture, source, name) == list(range(1, ROWS + 1))


def test_views_and_small_tables_are_read_in_one(pipeline: Pipeline) -> None:
    _create(pipeline)
    _create(pipeline, "small", 10)
    pipeline.at_source(
        "create view shown as select * from big; create table nothing (id int primary key, v text)"
    )
    source = _contract(3, "shown", "small", "nothing")
    assert [_ranges(pipeline, source, name) for name in ("shown", "small", "nothing")] == [1, 1, 1]
    with open_source(source, pipeline.connect("source")).snapshot(list(source.streams)) as picture:
        assert [len(_ids(picture, source, name)) for name in ("shown", "small", "nothing")] == [ROWS, 10, 0]


def test_no_more_connections_read_than_the_contract_allows(pipeline: Pipeline) -> None:
    for name in ("big", "other"):
        _create(pipeline, name)
    source = _contract(2, "big", "other")
    most = "select count(*) from pg_stat_activity where datname = current_database() and application_name like 'millrace%'"
    counts = []
    with open_source(source, pipeline.connect("source")).snapshot(list(source.streams)) as picture:
        (before,) = pipeline.at_source(most)[0]
        threads = [threading.Thread(target=_ids, args=(picture, source, name)) for name in ("big", "other")]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            counts.append(pipeline.at_source(most)[0][0] - before)
        counts.append(pipeline.at_source(most)[0][0] - before)
    assert max(counts) == 2


def test_a_range_that_fails_ends_the_others_and_the_read(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Few bytes on a page become many on the wire: more than fits into the sockets' buffers, so that a range waits in its
    # middle for whoever takes its rows.
    monkeypatch.setattr(ranges, "PAGES", 64)
    pipeline.at_source("create table big (id int primary key, v text)")
    pipeline.at_source(
        f"insert into big select i, repeat(i::text, 5000) from generate_series(1, {ROWS // 3}) i"
    )
    source = _contract()
    with open_source(source, pipeline.connect("source")).snapshot(list(source.streams)) as picture:
        batches = picture.rows(source.stream("big"))
        next(batches)
        until(lambda: pipeline.at_source(_WAITING), "a range that waits in its middle")
        assert pipeline.at_source(f"select pg_terminate_backend(pid) from ({_WAITING}) w")
        with pytest.raises(TransientError):
            list(batches)
        assert not [thread for thread in threading.enumerate() if thread.name == "range"]


def test_a_reader_that_is_given_up_leaves_no_thread_and_no_connection(pipeline: Pipeline) -> None:
    _create(pipeline)
    source = _contract()
    with open_source(source, pipeline.connect("source")).snapshot(list(source.streams)) as picture:
        batches = picture.rows(source.stream("big"))
        assert next(batches).num_rows
        batches.close()
        assert not [thread for thread in threading.enumerate() if thread.name == "range"]
        assert _ids(picture, source) == list(range(1, ROWS + 1))


def test_what_a_reader_raises_is_raised_and_gives_its_permit_back() -> None:
    permits = threading.Semaphore(1)

    def broken() -> Iterator[Any]:
        yield 1
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        list(ranges.together([broken, broken], permits))
    assert list(ranges.together([lambda: iter([1, 2]), lambda: iter([3])], permits)) == [1, 2, 3]


def test_a_session_that_the_server_has_ended_meanwhile_is_not_used_again(pipeline: Pipeline) -> None:
    """A driver that asks it would end this process."""
    for name in ("one", "two"):
        _create(pipeline, name, rows=100)
    source = _contract(1, "one", "two")
    with open_source(source, pipeline.connect("source")).snapshot(list(source.streams)) as picture:
        assert len(_ids(picture, source, "one")) == 100
        ended = "select pg_terminate_backend(pid) from pg_stat_activity where query like 'COPY%' and state like 'idle%'"
        assert pipeline.at_source(ended) == [(True,)]
        assert len(_ids(picture, source, "two")) == 100
