"""What a server does to the numbers of its transactions: they go round, branch off, and are forgotten in a crash."""

from __future__ import annotations

from pathlib import Path
from signal import SIGQUIT

import psycopg
import pytest

from include.core.contracts import SourceContract
from include.core.errors import TerminalError
from include.stack import postgres
from include.stack.home import Home
from tests.support.by_transaction import BY_XMIN, TABLE, WRITE, marks, read, same
from tests.support.own_server import at_server, lead_to, server
from tests.support.pipeline import Pipeline, contract


@pytest.fixture
def store() -> SourceContract:
    return contract("store", [BY_XMIN])


def test_a_server_whose_numbers_go_round_between_two_pulls(
    pipeline: Pipeline, store: SourceContract, tmp_path: Path
) -> None:
    who = postgres.initialise(Home(tmp_path), "secret")
    with server(who) as uri:
        lead_to(pipeline, uri)
        pipeline.at_source(TABLE)
        pipeline.at_source("vacuum (freeze)")
    # 300 before the end of the numbers, where the status of transactions wants a file of its own
    at_server(
        who,
        *who.command("pg_resetwal", "-D", "data", "-x", str((1 << 32) - 300), "-e", "4")[len(who.prefix) :],
    )
    at_server(who, "dd", "if=/dev/zero", "of=data/pg_xact/0FFF", "bs=262144", "count=1", "status=none")
    with server(who, autovacuum="off") as uri:
        lead_to(pipeline, uri)
        pipeline.at_source("insert into orders (id) values (500)")
        assert read(pipeline, store) == 101
        before = marks(pipeline)[0]["xid"]
        with psycopg.connect(uri, autocommit=True) as session:
            for number in range(1001, 1401):
                session.execute("insert into orders (id) values (%s)", (number,))
            session.execute("update orders set note = 'x' where id in (1, 500)")
        assert read(pipeline, store) == 402
        assert before >> 32 < marks(pipeline)[0]["xid"] >> 32
        assert same(pipeline)
        assert read(pipeline, store) == 0


def test_a_server_that_was_promoted_or_restored_is_read_whole(
    pipeline: Pipeline, store: SourceContract, tmp_path: Path
) -> None:
    who = postgres.initialise(Home(tmp_path), "secret")
    with server(who) as uri:
        lead_to(pipeline, uri)
        pipeline.at_source(TABLE)
        pipeline.pull(store)
    at_server(who, "cp", "-a", "data", "backup")
    with server(who) as uri:
        lead_to(pipeline, uri)
        for number in (5001, 5002, 5003):
            pipeline.at_source(WRITE, number)
        assert read(pipeline, store) == 3
    at_server(who, "rm", "-r", "data")
    at_server(who, "mv", "backup", "data")
    at_server(who, "touch", "data/recovery.signal")
    with server(who, restore_command="false") as uri:
        lead_to(pipeline, uri)
        for number in range(7001, 7020):  # until it has counted as far as the history that it has left
            pipeline.at_source(WRITE, number)
        assert read(pipeline, store) == 119
        assert same(pipeline)
        assert marks(pipeline)[0]["timeline"] == 2
        assert read(pipeline, store) == 0


def test_a_replica_is_refused(pipeline: Pipeline, store: SourceContract, tmp_path: Path) -> None:
    who = postgres.initialise(Home(tmp_path), "secret")
    with server(who) as uri:
        lead_to(pipeline, uri)
        pipeline.at_source(TABLE)
        pipeline.pull(store)
    at_server(who, "touch", "data/standby.signal")
    with server(who) as uri:
        lead_to(pipeline, uri)
        with pytest.raises(TerminalError, match="replica"):
            pipeline.pull(store)


def test_what_was_read_outlives_a_crash_of_the_source(
    pipeline: Pipeline, store: SourceContract, tmp_path: Path
) -> None:
    who = postgres.initialise(Home(tmp_path), "secret")
    slow: dict[str, str] = {"wal_writer_delay": "2000", "synchronous_commit": "off", "autovacuum": "off"}
    with server(who, SIGQUIT, **slow) as uri:
        lead_to(pipeline, uri)
        pipeline.at_source(TABLE)
        pipeline.pull(store)
        with psycopg.connect(uri, autocommit=True) as session:
            for number in range(5001, 5011):
                session.execute(WRITE, (number,))
        pipeline.pull(store)
    with server(who, **slow) as uri:
        lead_to(pipeline, uri)
        for number in range(7001, 7021):
            pipeline.at_source(WRITE, number)
        pipeline.pull(store)
        assert same(pipeline)
        assert pipeline.at_source("select count(*) from orders where id between 5001 and 5010") == [(10,)]
