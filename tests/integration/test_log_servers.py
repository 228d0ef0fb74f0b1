"""What happens to the server whose log is read: it crashes, is restored, stands by, or is another one."""

from __future__ import annotations

from pathlib import Path
from signal import SIGQUIT

import psycopg
import pytest

from include.core.errors import TerminalError
from include.stack import postgres
from include.stack.home import Home
from tests.support.logged import TABLE, begun, docs, read, same, slot_of, state_of
from tests.support.own_server import at_server, lead_to, server
from tests.support.pipeline import Pipeline


def test_a_crash_of_the_source_loses_and_doubles_nothing(pipeline: Pipeline, tmp_path: Path) -> None:
    who = postgres.initialise(Home(tmp_path), "secret")
    slow = {"wal_writer_delay": "2000", "synchronous_commit": "off", "autovacuum": "off"}
    with server(who, SIGQUIT, **slow) as uri:
        lead_to(pipeline, uri)
        pipeline.at_source(TABLE)
        store = begun(pipeline, docs())
        with psycopg.connect(uri, autocommit=True) as session:
            for number in range(5001, 5011):
                session.execute("insert into docs values (%s, 'before', 'b', 1)", (number,))
        assert read(pipeline, store) == (10, 10, 0, 0)
        with psycopg.connect(uri) as session:
            session.execute("update docs set title = 'never committed'")
            session.rollback()
        pipeline.pull(store)
    with server(who, **slow) as uri:
        lead_to(pipeline, uri)
        for number in range(7001, 7021):
            pipeline.at_source("insert into docs values (%s, 'after', 'b', 1)", number)
        assert read(pipeline, store) == (20, 20, 0, 0)
        assert same(pipeline)


def test_a_server_that_was_restored_is_read_whole(pipeline: Pipeline, tmp_path: Path) -> None:
    who = postgres.initialise(Home(tmp_path), "secret")
    with server(who) as uri:
        lead_to(pipeline, uri)
        pipeline.at_source(TABLE)
        store = begun(pipeline, docs())
    at_server(who, "cp", "-a", "data", "backup")
    with server(who) as uri:
        lead_to(pipeline, uri)
        pipeline.at_source("update docs set title = 'in the history that is left'")
        assert read(pipeline, store) == (20, 0, 20, 0)
    at_server(who, "rm", "-r", "data")
    at_server(who, "mv", "backup", "data")
    at_server(who, "touch", "data/recovery.signal")
    with server(who, restore_command="false") as uri:
        lead_to(pipeline, uri)
        for number in range(7001, 7020):  # until it has counted as far as that
            pipeline.at_source("insert into docs values (%s, 'n', 'b', 1)", number)
        if slot_of(pipeline, store).state() is None:
            slot_of(pipeline, store).create()
        assert read(pipeline, store) == (39, 19, 20, 0)
        pipeline.at_source("delete from docs where id = 1")
        assert read(pipeline, store) == (1, 0, 0, 1)
        assert same(pipeline)


def test_a_replica_is_refused(pipeline: Pipeline, tmp_path: Path) -> None:
    who = postgres.initialise(Home(tmp_path), "secret")
    with server(who) as uri:
        lead_to(pipeline, uri)
        pipeline.at_source(TABLE)
        store = docs()
    at_server(who, "touch", "data/standby.signal")
    with server(who) as uri:
        lead_to(pipeline, uri)
        with pytest.raises(TerminalError, match="reads from the primary"):
            pipeline.pull(store)
        with pytest.raises(TerminalError, match="reads from the primary"):
            slot_of(pipeline, store).create()


def test_the_slot_of_another_server_is_left_as_it_is(pipeline: Pipeline, tmp_path: Path) -> None:
    who = postgres.initialise(Home(tmp_path), "secret")
    pipeline.at_source(TABLE)
    with server(who) as other:
        here = pipeline.source
        lead_to(pipeline, other)
        pipeline.at_source(TABLE)
        store = docs()
        slot_of(pipeline, store).create()
        lead_to(pipeline, here)
        begun(pipeline, store)
        lead_to(pipeline, other)
        pipeline.at_source("update docs set title = 'theirs'")
        before = state_of(pipeline, store).confirmed
        with pytest.raises(TerminalError, match="another server"):
            pipeline.pull(store)
        assert state_of(pipeline, store).confirmed == before
        lead_to(pipeline, here)
        pipeline.at_source("update docs set title = 'ours' where id = 1")
        assert read(pipeline, store) == (1, 0, 1, 0)
