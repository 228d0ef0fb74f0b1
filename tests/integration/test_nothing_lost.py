"""Nothing is lost: eight writers who never rest, a reader that is killed again and again, and every value there at the end.

What is published on the way is judged too: each time raw must be a state that the source was really in.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from multiprocessing.context import ForkServerContext, ForkServerProcess

import psycopg
import pytest

from include.core.contracts import SourceContract
from include.core.errors import TerminalError
from include.core.interval import Interval
from include.flows.books import unbalanced
from include.flows.extract import horizon
from include.sources.log import open_slot
from include.stack.state import HEALTHY, StackState
from tests.support import bank
from tests.support.pipeline import Pipeline, contract
from tests.support.stack import Stack

#: At least so many pulls, and so many that were broken off.
PULLS, BROKEN_OFF = 6, 4
TERMINAL = 3
PLACES = ("reader", "source", "reader", "warehouse")


@pytest.mark.parametrize("way", bank.WAYS)
def test_eight_writers_and_a_reader_that_is_killed(pipeline: Pipeline, storage: Stack, way: str) -> None:
    pipeline.at_source(bank.SCHEMA)
    source, chance, naive = contract("bank", bank.streams(way)), random.Random(way), Naive(pipeline)
    if source.logged:
        open_slot(source, pipeline.connect("source")).create()
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(
        ["tests.support.pipeline", "great_expectations.expectations", "pyarrow.parquet"]
    )
    pulls, broken_off, usual = 0, 0, 0.0
    with writing(processes, pipeline):
        while pulls < PULLS or broken_off < BROKEN_OFF:
            assert pulls < 10 * PULLS, "nothing breaks the reader off"
            disturbance = (
                Disturbance(PLACES[pulls % len(PLACES)], chance.uniform(0.1, 0.9) * usual) if pulls else None
            )
            started = time.monotonic()
            while (code := attempt(processes, pipeline, source, f"chaos-{pulls}", disturbance)) != 0:
                assert code != TERMINAL, "a person would have to come"
                broken_off, disturbance, started = broken_off + 1, None, time.monotonic()
                healthy(storage)
            # so that the next one is hit at any of its steps, on a fast machine and on a slow one
            pulls, usual = pulls + 1, time.monotonic() - started
            is_a_state_of_the_bank(pipeline)
            naive.read()
            if pulls == PULLS // 2:
                os.kill(pid_of(storage, "s3"), signal.SIGKILL)
                healthy(storage)
    assert attempt(processes, pipeline, source, "the last", None) == 0
    for table, columns in bank.COLUMNS.items():
        assert pipeline.same(table, f"raw_bank.{table}", ", ".join(columns)), table
    is_a_state_of_the_bank(pipeline)
    books_balance(pipeline)
    naive.read()
    assert naive.lost() > 0  # else this traffic would not show a loss


def attempt(
    processes: ForkServerContext,
    pipeline: Pipeline,
    source: SourceContract,
    run_id: str,
    disturbance: Disturbance | None,
) -> int | None:
    """One try of one run in a process of its own. Returns its exit code."""
    reader = processes.Process(target=_pull, args=(pipeline, source, run_id))
    reader.start()
    if disturbance is not None:
        disturbance.hit(reader, pipeline)
    reader.join(120)
    assert reader.exitcode is not None, "the reader hangs"
    return reader.exitcode


def _pull(pipeline: Pipeline, source: SourceContract, run_id: str) -> None:
    try:
        # a moment ago: some transaction is always open that has stamped its rows before it and has not committed them
        run, end = pipeline.run(source, run_id), datetime.now(timezone.utc)
        while not horizon(run, end).passed:
            time.sleep(0.05)
        pipeline.pull(source, Interval(None, end), run_id)
    except TerminalError:
        import traceback

        traceback.print_exc()
        os._exit(TERMINAL)


class Disturbance:
    """What happens to a reader after some seconds: it is killed, or a server drops its connections."""

    def __init__(self, place: str, after: float) -> None:
        self._place, self._after = place, after

    def hit(self, reader: ForkServerProcess, pipeline: Pipeline) -> None:
        reader.join(self._after)
        if self._place == "reader":
            reader.kill()
            return
        # until it has hit, or the reader is through
        while reader.is_alive() and not _drop(getattr(pipeline, self._place)):
            time.sleep(0.02)


def _drop(conninfo: str) -> int:
    with psycopg.connect(conninfo, autocommit=True) as admin:
        return admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
            " and pid <> pg_backend_pid() and application_name <> %s and backend_type = 'client backend'",
            (bank.TELLER,),
        ).rowcount


@contextmanager
def writing(processes: ForkServerContext, pipeline: Pipeline) -> Iterator[None]:
    closing = processes.Event()
    tellers = processes.Process(target=bank.work, args=(pipeline.source, 7, closing))
    tellers.start()
    try:
        yield
        assert tellers.is_alive(), "the bank has closed before its time"
    finally:
        closing.set()
        tellers.join(30)
    assert tellers.exitcode == 0


def is_a_state_of_the_bank(pipeline: Pipeline) -> None:
    assert bank.torn(pipeline.at_warehouse, "raw_bank") == []


def books_balance(pipeline: Pipeline) -> None:
    rows = pipeline.at_warehouse(
        "select to_jsonb(s) from ledger.load_stream s join ledger.load l using (load_id) where l.status = 'published'"
    )
    assert len(rows) > 2 * PULLS
    assert [wrong for (row,) in rows for wrong in unbalanced(row)] == []


class Naive:
    """The cursor that everybody writes first: whatever is newer than the newest row seen."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline, self._rows, self._newest = pipeline, {}, datetime(1970, 1, 1, tzinfo=timezone.utc)

    def read(self) -> None:
        found = self._pipeline.at_source(
            "select id, updated_at from entries where updated_at > %s", self._newest
        )
        self._rows |= dict(found)
        self._newest = max([self._newest, *(stamp for _, stamp in found)])

    def lost(self) -> int:
        return len({key for (key,) in self._pipeline.at_source("select id from entries")} - set(self._rows))


def pid_of(storage: Stack, service: str) -> int:
    process = StackState.read(storage.home.state_file).units[service].process
    assert process is not None
    return process.pid


def healthy(storage: Stack) -> None:
    deadline = time.monotonic() + 60
    while any(unit.state != HEALTHY for unit in StackState.read(storage.home.state_file).units.values()):
        assert time.monotonic() < deadline, "a service does not come back"
        time.sleep(0.1)
