"""Traffic for the demo source: many people changing the shop at once, as a real application would.

Besides plain short transactions there are the ones that make ingestion hard: long ones that commit after
later ones did, ones that roll back, and ones that undo a part by savepoint.
"""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import psycopg

from include.core.errors import TerminalError
from include.demo.actions import HABITS, Action, browse
from include.demo.books import Books, Cursor

LONG, ROLLED_BACK, SAVEPOINT, SHORT = "long", "rolled back", "savepoint", "short"
_KINDS = {SHORT: 84, LONG: 4, ROLLED_BACK: 6, SAVEPOINT: 6}
_ACTIONS = [habit.action for habit in HABITS]
_WEIGHTS = [habit.weight for habit in HABITS]
_MAX_DEADLOCKS = 20


@dataclass
class TrafficReport:
    """What a round of traffic left behind. Rows of transactions that rolled back are not counted.

    `transactions` is by kind (short, long, savepoint, rolled back) and sums up to what was asked for;
    `deadlocks` are transactions that the server broke off and that were done again.
    """

    books: Books = field(default_factory=Books)
    transactions: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_KINDS, 0))
    deadlocks: int = 0
    seconds: float = 0.0

    @property
    def inserts(self) -> dict[str, int]:
        """Rows inserted, by table."""
        return {table: rows for table, rows in sorted(self.books.inserts.items()) if rows}

    @property
    def updates(self) -> dict[str, int]:
        """Rows updated (soft deletes included), by table; a row updated twice counts twice."""
        return {table: rows for table, rows in sorted(self.books.updates.items()) if rows}

    @property
    def deletes(self) -> dict[str, int]:
        """Rows deleted for good, by table."""
        return {table: rows for table, rows in sorted(self.books.deletes.items()) if rows}


def generate(
    conninfo: str, *, transactions: int, workers: int = 4, seed: int = 7, long_seconds: float = 0.4
) -> TrafficReport:
    """Run `transactions` transactions over `workers` connections at once; returns when all are through.

    The number and the kinds of transactions depend on the arguments alone; which rows they meet depends on
    who comes first, as it does in life.

    :param conninfo: the application's own role.
    :param seed: another number, other people.
    :param long_seconds: how long a long transaction stays open.
    :raises TerminalError: the arguments are out of range.
    :raises psycopg.Error: the shop is not there or does not answer; the other workers end after their
        transaction.
    """
    if transactions < 1 or workers < 1:
        raise TerminalError(
            "traffic needs somebody to make it",
            received=f"transactions={transactions}, workers={workers}",
            allowed="1 or more of each",
        )
    workers = min(workers, transactions)
    started = time.monotonic()
    report = TrafficReport()
    stop = threading.Event()
    with ThreadPoolExecutor(workers, thread_name_prefix="traffic") as pool:
        shares = [
            pool.submit(
                _work, conninfo, _Share(range(number, transactions, workers), seed, long_seconds), stop
            )
            for number in range(workers)
        ]
        for share in shares:
            _add(report, share.result())
    report.seconds = time.monotonic() - started
    return report


@dataclass(frozen=True)
class _Share:
    """One worker's transactions, by their numbers."""

    numbers: range
    seed: int
    long_seconds: float


def _work(conninfo: str, share: _Share, stop: threading.Event) -> TrafficReport:
    report = TrafficReport()
    try:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            for number in share.numbers:
                if stop.is_set():
                    break
                _transact(connection, number, share, report)
    except BaseException:
        stop.set()  # the round has failed; the others need not finish it
        raise
    return report


def _transact(
    connection: psycopg.Connection[tuple[object, ...]], number: int, share: _Share, report: TrafficReport
) -> None:
    """One transaction, done again when the server chose it as the victim of a deadlock."""
    for _ in range(_MAX_DEADLOCKS):
        # A generator of its own: a transaction plans the same, whichever worker takes it and however often.
        rng = random.Random(f"{share.seed}/{number}")
        kind = rng.choices(list(_KINDS), list(_KINDS.values()))[0]
        books = Books()
        try:
            with connection.transaction(), connection.cursor() as cursor:
                _act(connection, cursor, kind, rng, books, share.long_seconds)
                if kind == ROLLED_BACK:
                    raise psycopg.Rollback
        except psycopg.errors.DeadlockDetected:
            report.deadlocks += 1
            continue
        if kind != ROLLED_BACK:
            report.books.add(books)
        report.transactions[kind] += 1
        return
    raise TerminalError(
        f"a transaction met {_MAX_DEADLOCKS} deadlocks in a row",
        where=f"traffic, transaction {number}",
        todo="look for somebody else who holds locks in schema shop",
    )


def _act(
    connection: psycopg.Connection[tuple[object, ...]],
    cursor: Cursor,
    kind: str,
    rng: random.Random,
    books: Books,
    long_seconds: float,
) -> None:
    _do(cursor, rng, books)
    if kind == LONG:
        time.sleep(long_seconds)
        _do(cursor, rng, books)
    elif kind == SAVEPOINT:
        with connection.transaction(force_rollback=True):
            _do(cursor, rng, Books())
        _do(cursor, rng, books)


def _do(cursor: Cursor, rng: random.Random, books: Books) -> None:
    action: Action = rng.choices(_ACTIONS, _WEIGHTS)[0]
    if not action(cursor, rng, books):
        browse(cursor, rng, books)


def _add(report: TrafficReport, share: TrafficReport) -> None:
    report.books.add(share.books)
    report.deadlocks += share.deadlocks
    for kind, count in share.transactions.items():
        report.transactions[kind] += count
