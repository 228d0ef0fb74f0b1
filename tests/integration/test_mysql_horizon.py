"""The commit horizon of MariaDB: it does not pass while anything stamped before `end` may still be committed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from include.core.errors import SourceForbidden, TerminalError
from include.sources import Horizon, open_source
from tests.support.mariadb import MariaDB
from tests.support.pipeline import contract

STREAM = {
    "name": "moves",
    "table": "shop.moves",
    "mode": "incremental",
    "cursor": "at",
    "primary_key": ["id"],
    "columns": {"id": {"type": "int(11)"}, "at": {"type": "timestamp(6)"}},
}
INSERT = "insert into shop.moves (id) values (1)"


@pytest.fixture
def moves(maria: MariaDB) -> MariaDB:
    maria.run(
        "create table shop.moves (id int primary key, at timestamp(6) not null default current_timestamp(6))"
    )
    return maria


@pytest.fixture
def sessions(moves: MariaDB) -> Iterator[Any]:
    """Gives sessions of somebody else, in no transaction."""
    with ExitStack() as opened:
        yield lambda: opened.enter_context(closing(moves.session())).cursor()


def look(database: MariaDB, end: datetime, user: str = "reader") -> Horizon:
    return open_source(contract("store", [STREAM], kind="mysql"), database.connection(user)).horizon(end)


def moment(after: float = 0.0) -> datetime:
    """So many seconds from now, once the clock has passed it by enough for a look."""
    end = datetime.now(timezone.utc) + timedelta(seconds=after)
    time.sleep(after + 1.2)
    return end


def stamp(database: MariaDB) -> datetime:
    ((at,),) = database.run("set time_zone = '+00:00'", "select at from shop.moves")
    return datetime.fromisoformat(str(at)).replace(tzinfo=timezone.utc)


def test_it_passes_on_a_quiet_server_once_its_clock_says_so(moves: MariaDB) -> None:
    assert look(moves, moment()).passed
    (why,) = look(moves, datetime.now(timezone.utc) + timedelta(hours=1)).blockers
    assert "clock" in why


def test_what_was_written_and_not_committed_blocks(moves: MariaDB, sessions: Any) -> None:
    writer = sessions()
    writer.execute("begin")
    writer.execute(INSERT)
    end = moment()
    blocked = look(moves, end)
    assert not blocked.passed
    assert "has written" in blocked.blockers[0]
    writer.execute("commit")
    assert stamp(moves) < end
    assert look(moves, end).passed


def test_a_transaction_that_has_only_read_does_not_block(moves: MariaDB, sessions: Any) -> None:
    reader = sessions()
    reader.execute("start transaction with consistent snapshot")
    reader.execute("select * from shop.moves")
    end = moment()
    assert look(moves, end).passed
    # for what it writes now is stamped now, not when it began
    reader.execute(INSERT)
    reader.execute("commit")
    assert stamp(moves) > end


def test_a_prepared_transaction_blocks_with_and_without_its_session(moves: MariaDB, sessions: Any) -> None:
    with closing(moves.session()) as session:
        writer = session.cursor()
        for statement in ("xa start 'late'", INSERT, "xa end 'late'", "xa prepare 'late'"):
            writer.execute(statement)
        end = moment()
        assert not look(moves, end).passed
    time.sleep(0.5)
    assert "prepared" in look(moves, end).blockers[0]
    moves.run("xa commit 'late'")
    assert stamp(moves) < end
    assert look(moves, end).passed


def test_a_statement_that_waits_for_the_table_blocks(moves: MariaDB, sessions: Any) -> None:
    """It touches InnoDB long after its begin, so its transaction seems to have begun after `end`."""
    holder, writer = sessions(), sessions()
    holder.execute("lock tables shop.moves write")
    writer.execute("begin")
    waits = threading.Thread(target=writer.execute, args=(INSERT,))
    waits.start()
    time.sleep(0.3)
    end = moment()
    assert "execute" in look(moves, end).blockers[0] or "query" in look(moves, end).blockers[0]
    time.sleep(1)
    # now it goes on, while somebody looks
    looked: list[Horizon] = []
    looks = threading.Thread(target=lambda: looked.append(look(moves, end)))
    looks.start()
    time.sleep(1)
    holder.execute("unlock tables")
    waits.join()
    looks.join()
    assert not looked[0].passed
    started = moves.run("select trx_started from information_schema.innodb_trx where trx_rows_modified > 0")
    assert (
        started[0][0].astimezone(timezone.utc) > end
    )  # what the catalog says of it alone would let it through
    writer.execute("commit")
    assert stamp(moves) < end
    assert look(moves, end).passed


def test_a_transaction_that_began_to_write_later_holds_nobody_up_for_long(
    moves: MariaDB, sessions: Any
) -> None:
    """Others write and commit all the time: each look waits for the few that it meets."""
    closing_time = threading.Event()

    def work(first: int) -> None:
        with closing(moves.session(autocommit=False)) as session, session.cursor() as cursor:
            number = first
            while not closing_time.is_set():
                number += 1
                cursor.execute("insert into shop.moves (id) values (%s)", (number,))
                time.sleep(0.1)
                session.commit()

    workers = [threading.Thread(target=work, args=(number * 100_000,)) for number in range(4)]
    for worker in workers:
        worker.start()
    try:
        end = moment(0.5)
        assert look(moves, end).passed
    finally:
        closing_time.set()
        for worker in workers:
            worker.join()


def test_without_the_right_to_see_others_it_says_so(moves: MariaDB) -> None:
    moves.run(
        "create or replace user shy@'%' identified by 'x'",
        "grant select on shop.* to shy@'%'",
    )
    source = open_source(contract("store", [STREAM], kind="mysql"), moves.connection("shy", "x"))
    with pytest.raises(SourceForbidden, match="grant process"):
        source.horizon(datetime.now(timezone.utc))


def test_our_own_readers_do_not_block(moves: MariaDB) -> None:
    moves.run("insert into shop.moves (id) select seq from shop.seq_1_to_400000")
    source = open_source(contract("store", [STREAM], kind="mysql"), moves.connection())
    (stream,) = contract("store", [STREAM], kind="mysql").streams
    with source.snapshot([stream]) as snapshot:
        rows = snapshot.rows(stream)
        next(rows)
        end = moment()
        ((seconds,),) = moves.run(
            "select time from information_schema.processlist where info like 'select /* millrace */%'"
        )
        assert seconds >= 1  # it still runs, and began before
        assert look(moves, end).passed
        assert sum(batch.num_rows for batch in rows) > 300_000


def test_a_server_that_others_feed_is_refused(moves: MariaDB) -> None:
    moves.run("set global read_only = 1")
    try:
        with pytest.raises(TerminalError, match="could lose rows"):
            look(moves, datetime.now(timezone.utc) - timedelta(minutes=1))
    finally:
        moves.run("set global read_only = 0")
