"""Nothing is lost from a MariaDB whose writers commit late and in two phases, and each batch is a state that it was in."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from typing import Any

import pymysql
import pytest

from tests.support.attempts import Attempts, dropped
from tests.support.mariadb import READER, MariaDB
from tests.support.pipeline import Pipeline, contract

ACCOUNTS, TELLERS, OPENING = 20, 8, 1000
#: At least so many pulls, and so many that were broken off.
PULLS, BROKEN_OFF = 6, 3
STAMP = "updated_at timestamp(6) not null default current_timestamp(6) on update current_timestamp(6)"
SCHEMA = (
    f"create table shop.accounts (id int primary key, balance decimal(12,2) not null, {STAMP})",
    f"create table shop.entries (id bigint primary key auto_increment, account int, amount decimal(12,2), {STAMP})",
    f"insert into shop.accounts (id, balance) select seq, {OPENING} from shop.seq_1_to_{ACCOUNTS}",
    f"insert into shop.entries (account, amount) select seq, {OPENING} from shop.seq_1_to_{ACCOUNTS}",
)
COLUMNS: dict[str, dict[str, Any]] = {
    "accounts": {"id": {"type": "int(11)"}, "balance": {"type": "decimal(12,2)"}},
    "entries": {
        "id": {"type": "bigint(20)"},
        "account": {"type": "int(11)"},
        "amount": {"type": "decimal(12,2)"},
    },
}
WAYS = {
    "snapshot": {"mode": "snapshot", "deletes": "snapshot"},
    "incremental": {"mode": "incremental", "cursor": "updated_at", "deletes": "keys"},
}


@pytest.mark.parametrize("way", ["incremental", pytest.param("snapshot", marks=pytest.mark.long)])
def test_writers_who_never_rest(from_maria: Pipeline, maria: MariaDB, way: str) -> None:
    maria.run(*SCHEMA)
    streams = [
        {"name": name, "table": f"shop.{name}", "primary_key": ["id"], "max_delete_share": 1}
        | {"columns": columns | {"updated_at": {"type": "timestamp(6)"}}}
        | WAYS[way]
        for name, columns in COLUMNS.items()
    ]
    source, naive = contract("bank", streams, kind="mysql"), Naive(maria)
    drops = {"source": lambda: dropped_by(maria), "warehouse": lambda: dropped(from_maria.warehouse)}
    attempts = Attempts(from_maria, source, drops)
    with writing(maria):
        while attempts.pulls < PULLS or attempts.broken_off < BROKEN_OFF:
            assert attempts.pulls < 10 * PULLS, "nothing breaks the reader off"
            attempts.pull()
            is_a_state_of_the_bank(from_maria)
            naive.read()
    attempts.pull(undisturbed=True)
    is_a_state_of_the_bank(from_maria)
    for name, columns in COLUMNS.items():
        listed = ", ".join(columns)
        theirs = from_maria.at_warehouse(
            f"select {listed} from raw_bank.{name} where _deleted_at is null order by id"
        )
        assert theirs == list(maria.run(f"select {listed} from shop.{name} order by id")), name
    naive.read()
    assert naive.lost() > 0  # else this traffic would not show a loss


def dropped_by(database: MariaDB) -> int:
    """How many connections of readers the server has dropped just now."""
    query = f"select id from information_schema.processlist where user = '{READER}'"
    found = [number for (number,) in database.run(query)]
    for number in found:
        with suppress(pymysql.err.MySQLError):  # it has ended by itself
            database.run(f"kill {number}")
    return len(found)


def is_a_state_of_the_bank(pipeline: Pipeline) -> None:
    alive = "where _deleted_at is null"
    ((total,),) = pipeline.at_warehouse(f"select sum(balance) from raw_bank.accounts {alive}")
    assert total == ACCOUNTS * OPENING
    torn = pipeline.at_warehouse(
        f"select a.id from raw_bank.accounts a left join (select * from raw_bank.entries {alive}) e"
        " on e.account = a.id group by a.id having a.balance is distinct from sum(e.amount)"
    )
    assert torn == []


@contextmanager
def writing(database: MariaDB) -> Iterator[None]:
    closing_time = threading.Event()
    with ThreadPoolExecutor(TELLERS) as tellers:
        working = [tellers.submit(teller, database, number, closing_time) for number in range(TELLERS)]
        try:
            yield
        finally:
            closing_time.set()
        assert [one.result() for one in working] == [None] * TELLERS


def teller(database: MariaDB, number: int, closing_time: threading.Event) -> None:
    chance = random.Random(number)
    with closing(database.session(autocommit=True)) as session, session.cursor() as cursor:
        customer = 0
        while not closing_time.is_set():
            customer += 1
            name = f"'{number}-{customer}'"
            # where two wait for each other the server breaks one off; that customer comes again
            try:
                serve(cursor, chance, name)
            except pymysql.err.OperationalError as error:
                if error.args[0] not in (1205, 1213, 1613, 1614):
                    raise
                with suppress(pymysql.err.MySQLError):
                    cursor.execute(f"xa end {name}")
                with suppress(pymysql.err.MySQLError):
                    cursor.execute(f"xa rollback {name}")
                with suppress(pymysql.err.MySQLError):
                    cursor.execute("rollback")
            time.sleep(chance.uniform(0, 0.05))


def serve(cursor: Any, chance: random.Random, name: str) -> None:
    two_phases = chance.random() < 0.2
    cursor.execute(f"xa start {name}" if two_phases else "begin")
    giver, taker = sorted(chance.sample(range(1, ACCOUNTS + 1), 2))
    amount = chance.randrange(1, 5000) / 100
    for account, signed in ((giver, -amount), (taker, amount)):
        cursor.execute(f"insert into shop.entries (account, amount) values ({account}, {signed})")
        cursor.execute(f"update shop.accounts set balance = balance + {signed} where id = {account}")
    if chance.random() < 0.3:  # one entry becomes two
        cursor.execute(f"delete from shop.entries where account = {taker} and amount = {amount} limit 1")
        for part in (1, amount - 1):
            cursor.execute(f"insert into shop.entries (account, amount) values ({taker}, round({part}, 2))")
    time.sleep(chance.choice((0, 0, 0, 0.1, 0.7)))
    end = chance.choice(("commit", "commit", "commit", "rollback"))
    if two_phases:
        cursor.execute(f"xa end {name}")
        cursor.execute(f"xa prepare {name}")
        time.sleep(chance.uniform(0, 0.3))
        cursor.execute(f"xa {end} {name}")
    else:
        cursor.execute(end)


class Naive:
    """The cursor that everybody writes first: whatever is newer than the newest row seen."""

    def __init__(self, database: MariaDB) -> None:
        self._database, self._newest = database, datetime(1970, 1, 2)
        self._seen: set[int] = set()

    def read(self) -> None:
        found = self._database.run(
            f"select id, updated_at from shop.entries where updated_at > '{self._newest.isoformat(' ')}'"
        )
        self._seen |= {key for key, _ in found}
        self._newest = max([self._newest, *(stamp for _, stamp in found)])

    def lost(self) -> int:
        return len({key for (key,) in self._database.run("select id from shop.entries")} - self._seen)
