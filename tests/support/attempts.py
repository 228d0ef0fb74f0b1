"""Tries of a run in processes of their own, which are killed in their middle, or whose connections a server drops."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from multiprocessing.context import ForkServerContext, ForkServerProcess

import psycopg

from include.core.contracts import SourceContract
from include.core.errors import TerminalError, TransientError
from include.core.interval import Interval
from include.flows.extract import horizon
from tests.support import bank
from tests.support.pipeline import Pipeline

#: How a reader ends: for the next try to go on, for a person to come, and killed by us. The last one is the driver's, when
#: the server ends a session between two of its statements (include/sources/postgres/columns.py).
_TRANSIENT, _TERMINAL = 4, 3
_BROKEN_OFF = (_TRANSIENT, -signal.SIGKILL, -signal.SIGABRT)


def processes() -> ForkServerContext:
    """Where the processes come from: one that has imported what they need."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["tests.support.pipeline", "great_expectations.expectations", "pyarrow.parquet"]
    )
    return context


@contextmanager
def writing(conninfo: str, seed: int = 7) -> Iterator[None]:
    """While the bank's eight tellers work, in a process of their own."""
    context = processes()
    closing = context.Event()
    tellers = context.Process(target=bank.work, args=(conninfo, seed, closing))
    tellers.start()
    try:
        yield
        assert tellers.is_alive(), "the bank has closed before its time"
    finally:
        closing.set()
        tellers.join(60)
    assert tellers.exitcode == 0


class Attempts:
    """Runs of one source, one after the other, each tried until it succeeds.

    :param drops: by what each place that may be hit is called, what drops all connections to it; returns how many.
    :param between: called after each try that was broken off.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        source: SourceContract,
        drops: dict[str, Callable[[], int]],
        between: Callable[[], None] = lambda: None,
    ) -> None:
        self._pipeline, self._source, self._drops, self._between = pipeline, source, drops, between
        self._processes, self._chance = processes(), random.Random(source.source)
        self._usual = 0.0
        self.pulls = self.broken_off = 0

    def pull(self, *, undisturbed: bool = False) -> None:
        """One run. Its first try is hit somewhere, unless nothing is known yet of how long one takes."""
        run_id, disturbed = f"chaos-{self.pulls}", self._usual > 0 and not undisturbed
        started = time.monotonic()
        while (code := self._try(run_id, disturbed)) != 0:
            assert code in _BROKEN_OFF, f"a person would have to come: exit code {code}"
            self.broken_off, disturbed, started = self.broken_off + 1, False, time.monotonic()
            self._between()
        # so that the next one is hit at any of its steps, on a fast machine and on a slow one
        self.pulls, self._usual = self.pulls + 1, time.monotonic() - started

    def _try(self, run_id: str, disturbed: bool) -> int | None:
        reader = self._processes.Process(target=_pull, args=(self._pipeline, self._source, run_id))
        reader.start()
        if disturbed:
            self._hit(reader)
        reader.join(120)
        assert reader.exitcode is not None, "the reader hangs"
        return reader.exitcode

    def _hit(self, reader: ForkServerProcess) -> None:
        # the reader itself every other time
        places = [place for drop in self._drops for place in ("reader", drop)]
        place = places[self.pulls % len(places)]
        reader.join(self._chance.uniform(0.1, 0.9) * self._usual)
        if place == "reader":
            reader.kill()
            return
        # until it has hit, or the reader is through
        while reader.is_alive() and not self._drops[place]():
            time.sleep(0.02)


def dropped(conninfo: str) -> int:
    """How many connections of readers a PostgreSQL server has dropped just now."""
    with psycopg.connect(conninfo, autocommit=True) as admin:
        return admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
            " and pid <> pg_backend_pid() and application_name <> %s and backend_type = 'client backend'",
            (bank.TELLER,),
        ).rowcount


def _pull(pipeline: Pipeline, source: SourceContract, run_id: str) -> None:
    try:
        # a moment ago: some transaction is always open that has stamped its rows before it and has not committed them
        run, end = pipeline.run(source, run_id), datetime.now(timezone.utc)
        while not horizon(run, end).passed:
            time.sleep(0.05)
        pipeline.pull(source, Interval(None, end), run_id)
    except TransientError:
        os._exit(_TRANSIENT)
    except TerminalError:
        import traceback

        traceback.print_exc()
        os._exit(_TERMINAL)
