"""Between the first read of a table and its log, and between one load and the next, there is no gap and no double."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import pq

from include.core.contracts import SourceContract
from include.core.errors import ContractError, MillraceError, StaleLoad, TransientError, Unreachable
from include.core.interval import Interval
from include.flows import extract, load, publish
from include.sources.postgres.log import picture
from tests.support.logged import COLUMNS, DOCS, TABLE, begun, docs, history, read, same, slot_of, state_of
from tests.support.pipeline import Pipeline, contract


@pytest.fixture
def at(pipeline: Pipeline) -> Pipeline:
    pipeline.at_source(TABLE)
    return pipeline


def now() -> Interval:
    return Interval(None, datetime.now(timezone.utc))


@contextmanager
def session(at: Pipeline, autocommit: bool = False) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(at.source, autocommit=autocommit) as found:
        yield found


def test_what_is_open_at_the_first_read_comes_with_the_log_and_only_then(at: Pipeline) -> None:
    store = docs()
    slot_of(at, store).create()
    with session(at) as late, session(at) as later:
        late.execute(
            "update docs set title = 'late' where id = 1; savepoint a; insert into docs values (50, 'late')"
        )
        at.at_source("update docs set title = 'before' where id = 2")
        with pytest.raises(TransientError, match="open since before the slot was made"):
            at.pull(contract("store", [DOCS], impact={"horizon_timeout": "1s"}))
        late.commit()
        later.execute("select pg_current_xact_id()")

        def commit() -> None:  # while the first load waits for it
            later.execute("update docs set title = 'meanwhile' where id = 3")
            later.commit()

        timer = threading.Timer(1.0, commit)
        timer.start()
        assert read(at, store) == (21, 21, 0, 0)
        timer.join()
    assert same(at)
    with session(at) as one, session(at) as two:
        one.execute("update docs set title = 'one' where id = 1")
        two.execute("update docs set title = 'two' where id = 2")
        at.at_source("update docs set title = 'three' where id = 3")
        assert read(at, store) == (1, 0, 1, 0)
        two.commit()
        at.at_source("update docs set title = 'four' where id = 4")
        assert read(at, store) == (2, 0, 2, 0)
        one.commit()
        assert read(at, store) == (1, 0, 1, 0)
    assert same(at)


def test_a_prepared_transaction_comes_when_it_is_committed(at: Pipeline) -> None:
    store = begun(at, docs())
    name = at.source.rsplit("/", 1)[1]
    for end, changed in (("commit", 2), ("rollback", 0)):
        with session(at, autocommit=True) as teller:
            teller.execute("begin; update docs set title = 'p' where id <= 2")
            teller.execute(f"prepare transaction '{name}'")
        assert read(at, store) == (0, 0, 0, 0)
        at.at_source(f"{end} prepared '{name}'")
        assert read(at, store) == (changed, 0, changed, 0)
        assert same(at)


def test_a_table_is_read_anew_while_the_slot_goes_on(at: Pipeline) -> None:
    store = begun(at, docs(history="append"))
    with session(at) as late:
        late.execute("update docs set title = 'late' where id = 1")
        at.at_source("update docs set title = 'a' where id = 2; delete from docs where id = 3")
        assert read(at, store, full_refresh=True) == (19, 0, 1, 1)
        late.commit()
    at.at_source("update docs set title = 'b' where id = 2")
    assert read(at, store) == (2, 0, 2, 0)
    assert same(at)
    assert [(key, title, change) for key, title, _, change in history(at)[20:]] == [
        (2, "a", "update"),
        (3, "t3", "delete"),
        (1, "late", "update"),
        (2, "b", "update"),
    ]


ALTERED = {
    "a column that came back": (
        "alter table docs drop column title; alter table docs add column title text default 'new'", {}
    ),
    "a type that came back": (
        "alter table docs alter amount type text using 'x'; update docs set body = 'b' where id = 2;"
        "alter table docs alter amount type numeric(12,2) using 5", {}
    ),
    "unpublished for a while": (
        "alter publication millrace_store drop table docs; update docs set title = 'unseen' where id = 4;"
        "alter publication millrace_store add table docs", {}
    ),
    "another table of the name": (
        "alter table docs rename to old; create table docs (like old including all); insert into docs values (1, 'other');"
        "alter publication millrace_store add table docs", {}
    ),
    "a new column": (
        "alter table docs add column extra int default 7; update docs set title = 'x' where id = 1",
        {"extra": {"type": "integer"}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("altered", ALTERED)
def test_a_table_that_was_altered_is_read_whole(at: Pipeline, altered: str) -> None:
    begun(at, docs())
    statement, columns = ALTERED[altered]
    at.at_source("update docs set title = 'seen' where id = 5")
    at.at_source(statement)
    store = docs(columns=DOCS["columns"] | columns)
    at.pull(store)
    order = ", ".join(DOCS["columns"] | columns)
    assert at.same("docs", "raw_store.docs", order)
    at.at_source("update docs set title = 'after' where id = 1")
    assert read(at, store) == (1, 0, 1, 0)
    assert at.same("docs", "raw_store.docs", order)


def test_vacuum_and_analyze_and_others_in_the_publication_alter_nothing(at: Pipeline) -> None:
    store = begun(at, docs())
    at.at_source("create table more (id int primary key); alter publication millrace_store add table more")
    for statement in (
        "vacuum full docs",
        "vacuum freeze docs",
        "analyze docs",
        "create index on docs (title)",
    ):
        at.at_source(statement)
    at.at_source("update docs set title = 'x' where id = 1")
    assert read(at, store) == (1, 0, 1, 0)


def test_another_shape_stops_or_is_read_as_the_contract_says(at: Pipeline) -> None:
    store = begun(at, docs())
    at.at_source(
        "alter table docs add column extra text default 'e'; update docs set extra = 'f' where id = 1"
    )
    with pytest.raises(MillraceError, match="contract does not know it"):
        at.pull(store)
    adding = contract("store", [DOCS], on_schema_change="add_columns")
    at.pull(adding)
    assert at.same("docs", "raw_store.docs", COLUMNS + ", extra")
    at.at_source("update docs set extra = 'g' where id = 2")
    assert read(at, adding) == (1, 0, 1, 0)
    assert at.same("docs", "raw_store.docs", COLUMNS + ", extra")


def test_streams_that_are_read_by_themselves_keep_their_own_place(at: Pipeline) -> None:
    at.at_source(TABLE.replace("docs", "other"))
    store = begun(at, docs(DOCS | {"name": "other", "table": "public.other"}))
    at.at_source("update docs set title = 'x' where id = 1; update other set title = 'x' where id in (1, 2)")
    assert read(at, store, only=("docs",)) == (1, 0, 1, 0)
    at.at_source("update docs set title = 'y' where id = 1")
    rows = {row["stream"]: row["extracted"] for row in at.pull(store).streams}
    assert rows == {"docs": 1, "other": 2}
    assert same(at) and at.same("other", "raw_store.other", COLUMNS)


def test_each_step_may_end_in_the_middle_and_run_again(at: Pipeline) -> None:
    store = begun(at, docs())
    at.at_source("update docs set title = 'a' where id = 1; delete from docs where id = 2")
    run = at.run(store)
    extract.extract(run, now())  # landed, and then its worker died
    found = extract.extract(run, now())
    assert list(found.streams) == ["docs"]
    for _twice in range(2):
        load.stage(run, found.load_id, "docs")
        load.audit(run, found.load_id, "docs")
    for _twice in range(2):
        published = publish.publish(run, found.load_id)
    assert [published.streams[0][name] for name in ("extracted", "inserted", "updated", "deleted")] == [
        2,
        0,
        1,
        1,
    ]
    assert load.stage(run, found.load_id, "docs") == 0
    publish.close(run, found.load_id)
    assert read(at, store) == (0, 0, 0, 0)
    assert same(at)


def test_published_changes_are_not_applied_again_when_the_slot_did_not_move(
    at: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = begun(at, docs(history="append"))
    confirmed = state_of(at, store).confirmed
    with monkeypatch.context() as context:
        context.setattr("include.flows.publish.release", lambda run, known: None)
        context.setattr("include.flows.extract.release", lambda run, known: None)
        for title in "ab":
            at.at_source(f"update docs set title = '{title}' where id = 1")
            assert read(at, store) == (1, 0, 1, 0)
        assert state_of(at, store).confirmed == confirmed
    assert read(at, store) == (0, 0, 0, 0)
    assert state_of(at, store).confirmed > confirmed
    assert len(history(at)) == 22


def test_a_worker_that_was_overtaken_publishes_no_changes(at: Pipeline) -> None:
    store = begun(at, docs())
    at.at_source("update docs set title = 'a' where id = 1")
    slow = at.run(store)
    found = extract.extract(slow, now())
    load.stage(slow, found.load_id, "docs")
    load.audit(slow, found.load_id, "docs")
    at.at_warehouse("update ledger.lease set expires_at = now() - interval '1 second'")
    assert read(at, store) == (1, 0, 1, 0)
    with pytest.raises(StaleLoad):
        load.stage(slow, found.load_id, "docs")
    with pytest.raises(StaleLoad):
        publish.publish(slow, found.load_id)
    assert same(at) and read(at, store) == (0, 0, 0, 0)


def test_a_table_that_joins_brings_what_open_transactions_wrote_before(at: Pipeline) -> None:
    """The log tells of it what was written since the publication has it; the snapshot, what is committed."""
    begun(at, docs())
    at.at_source("create table other (id int primary key, title text)")
    other = {"name": "other", "table": "public.other", "mode": "log", "primary_key": ["id"],
             "columns": {"id": {"type": "integer"}, "title": {"type": "text"}}}  # fmt: skip
    both = docs(other)
    with session(at) as writer:
        writer.execute("insert into other values (1, 'before')")
        slot_of(at, both).create()

        def commit() -> None:  # while the load waits for it
            writer.execute("insert into other values (2, 'after')")
            writer.commit()

        timer = threading.Timer(2.0, commit)
        timer.start()
        at.pull(both)
        timer.join()
    at.pull(both)
    assert at.same("other", "raw_store.other", "id, title")
    # and so where it was left out for a while
    with session(at) as writer:
        at.at_source("alter publication millrace_store drop table other")
        writer.execute("insert into other values (3, 'unseen')")
        at.at_source("alter publication millrace_store add table other")
        timer = threading.Timer(2.0, writer.commit)
        timer.start()
        at.pull(both)
        timer.join()
    at.pull(both)
    assert at.same("other", "raw_store.other", "id, title")


def test_another_replica_identity_for_a_while_leads_to_a_whole_read(at: Pipeline) -> None:
    at.at_source("alter table docs add column code int not null default 0; update docs set code = id;"
                 "alter table docs add constraint codes unique (code)")  # fmt: skip
    store = begun(at, docs(columns=DOCS["columns"] | {"code": {"type": "integer"}}))
    at.at_source(
        "alter table docs replica identity using index codes; update docs set id = 100 where id = 1;"
        "alter table docs replica identity default"
    )
    at.pull(store)
    assert same(at)


def test_a_partition_whose_changes_are_told_as_its_parents_is_refused(at: Pipeline) -> None:
    at.at_source(
        "create table whole (id int primary key, title text) partition by range (id);"
        "create table part partition of whole for values from (0) to (100);"
        "create publication millrace_store for table whole, part with (publish_via_partition_root = true)"
    )
    part = {"name": "part", "table": "public.part", "mode": "log", "primary_key": ["id"],
            "columns": {"id": {"type": "integer"}, "title": {"type": "text"}}}  # fmt: skip
    store = contract("store", [part])
    slot_of(at, store).create()
    with pytest.raises(ContractError, match="publish_via_partition_root = false"):
        at.pull(store)


def test_a_store_that_breaks_off_ends_the_load_and_the_next_one_has_it_all(at: Pipeline) -> None:
    store = begun(at, docs())
    at.at_source("insert into docs select i, 'n', 'b', 1 from generate_series(1000, 60000) i")
    landing = at.connections["landing"]
    at.connections["landing"] = replace(landing, extra=landing.extra | {"endpoint_url": "http://127.0.0.1:1"})
    with pytest.raises(Unreachable):
        at.pull(store)
    at.connections["landing"] = landing
    assert read(at, store) == (59001, 59001, 0, 0)
    assert same(at)


def test_a_session_that_holds_the_slot_is_waited_for(at: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture, "_PATIENCE", 1.0)
    store = begun(at, docs())
    at.at_source("update docs set title = 'a' where id = 1")
    # a replication connection that reads on, as one whose client has died may for a while
    holding = pq.PGconn.connect(f"{at.source}?replication=database".encode())
    answer = holding.exec_(
        b"START_REPLICATION SLOT millrace_store LOGICAL 0/0 (proto_version '1', publication_names 'millrace_store')"
    )
    assert answer.status == pq.ExecStatus.COPY_BOTH
    with pytest.raises(TransientError, match="another session reads from the slot"):
        at.pull(store)
    monkeypatch.setattr(picture, "_PATIENCE", 60.0)
    timer = threading.Timer(2.0, holding.finish)
    timer.start()
    assert read(at, store) == (1, 0, 1, 0)
    timer.join()


ROWS = 600_000


def test_a_transaction_of_any_size_takes_little_memory(at: Pipeline) -> None:
    store = begun(at, docs())
    at.at_source(
        f"insert into docs select i, md5(i::text), repeat(md5(i::text), 10), 1 from generate_series(1000, {ROWS + 999}) i"
    )
    results = get_context("spawn").Queue()
    reader = get_context("spawn").Process(target=_extract, args=(at, store, results))
    reader.start()
    rows, grown = results.get(timeout=300)
    reader.join()
    assert rows == ROWS
    # about 230 MB, whether these or twice as many; Python would need 400 MB more to keep them all
    assert grown < 320 << 20, f"{grown >> 20} MB"


def _extract(at: Pipeline, store: SourceContract, results: Any) -> None:
    import great_expectations.expectations  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    before = _most_memory()
    found = extract.extract(at.run(store, f"big-{os.getpid()}"), now())
    ((rows,),) = at.at_warehouse("select landed from ledger.load_stream where load_id = %s", found.load_id)
    results.put((rows, _most_memory() - before))


def _most_memory() -> int:
    """The most bytes that this process has had; what `getrusage` says is that of the parent too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))
