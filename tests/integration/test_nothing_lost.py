"""Nothing is lost: eight writers who never rest, a reader that is killed again and again, and every value there at the end.

What is published on the way is judged too: each time raw must be a state that the source was really in.
"""

from __future__ import annotations

import os
import signal
import time
from datetime import datetime, timezone

import pytest

from include.flows.books import unbalanced
from include.sources.log import open_slot
from include.stack.state import HEALTHY, StackState
from tests.support import bank
from tests.support.attempts import Attempts, dropped, writing
from tests.support.cases import cases
from tests.support.pipeline import Pipeline, contract
from tests.support.stack import Stack

#: At least so many pulls, and so many that were broken off.
PULLS, BROKEN_OFF = 6, 4


@pytest.mark.parametrize("way", cases(bank.WAYS, daily=("incremental", "log")))
def test_eight_writers_and_a_reader_that_is_killed(pipeline: Pipeline, storage: Stack, way: str) -> None:
    pipeline.at_source(bank.SCHEMA)
    source, naive = contract("bank", bank.streams(way), reconcile="0s"), Naive(pipeline)
    if source.logged:
        open_slot(source, pipeline.connect("source")).create()
    drops = {
        "source": lambda: dropped(pipeline.source),
        "warehouse": lambda: dropped(pipeline.warehouse),
    }
    attempts = Attempts(pipeline, source, drops, lambda: healthy(storage))
    with writing(pipeline.source):
        while attempts.pulls < PULLS or attempts.broken_off < BROKEN_OFF:
            assert attempts.pulls < 10 * PULLS, "nothing breaks the reader off"
            attempts.pull()
            is_a_state_of_the_bank(pipeline)
            naive.read()
            if attempts.pulls == PULLS // 2:
                os.kill(pid_of(storage, "s3"), signal.SIGKILL)
                healthy(storage)
    attempts.pull(undisturbed=True)
    for table, columns in bank.COLUMNS.items():
        assert pipeline.same(table, f"raw_bank.{table}", ", ".join(columns)), table
    is_a_state_of_the_bank(pipeline)
    books_balance(pipeline)
    # each load was held against the source as it was in its snapshot, value by value; the first difference ends a run
    compared = "select count(distinct load_id) from ledger.reconciliation where differing = 0"
    assert pipeline.at_warehouse(compared)[0][0] >= PULLS
    naive.read()
    assert naive.lost() > 0  # else this traffic would not show a loss


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
