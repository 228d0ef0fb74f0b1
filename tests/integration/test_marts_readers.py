"""Readers who poll the marts while version after version is published, refused by its gate, or killed on its way."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from include.core.errors import GateFailed, TransientError
from tests.support.pipeline import Pipeline

PUBLICATIONS, ROWS = 50, 40
_BOTH = (
    "select (select array_agg(distinct v) from marts.one), (select count(*) from marts.one),"
    " (select array_agg(distinct v) from marts.two), (select count(*) from marts.two)"
)


@dataclass
class Reader:
    """Reads both marts over and over: in one statement, or one after the other in a transaction."""

    uri: str
    transaction: bool
    seen: list[tuple[Any, ...]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> None:
        with psycopg.connect(self.uri, autocommit=True) as session:
            session.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            while not self.stopped.is_set():
                try:
                    self.seen.append(self._look(session))
                except psycopg.Error as error:
                    self.errors.append(str(error))

    def _look(self, session: psycopg.Connection[Any]) -> tuple[Any, ...]:
        if not self.transaction:
            return session.execute(_BOTH).fetchall()[0]
        found: list[Any] = []
        with session.transaction():
            for table in ("one", "two"):
                query = f"select array_agg(distinct v), count(*) from marts.{table}"
                found += session.execute(query.encode()).fetchall()[0]
        return tuple(found)


def _made(version: int, *, bad: bool) -> list[str]:
    value = f"case when id = 7 then -1 else {version} end" if bad else version
    return [
        f"create table marts_candidate.{name} as select id, 'n' as name, {value} as v from generate_series(1, {ROWS}) id"
        for name in ("one", "two")
    ]


@pytest.fixture
def judged(suites: Path) -> None:
    for name in ("one", "two"):
        (suites / "marts" / f"{name}.py").write_text(
            "import great_expectations.expectations as gxe\n"
            "def expectations():\n"
            "    return [gxe.ExpectColumnValuesToBeBetween(column='v', min_value=0)]\n"
        )


@pytest.mark.long
@pytest.mark.usefixtures("judged")
def test_readers_see_whole_versions_that_passed_and_nothing_else(build: Any, pipeline: Pipeline) -> None:
    chance = random.Random(50)
    build("first", *_made(0, bad=False)).publish()
    uri = pipeline.connect("warehouse_analyst").postgres_uri()
    readers = [Reader(uri, transaction) for transaction in (False, True)]
    threads = [threading.Thread(target=reader) for reader in readers]
    for thread in threads:
        thread.start()
    killed: list[int] = []
    published = [0]
    try:
        for version in range(1, PUBLICATIONS + 1):
            made = _made(version, bad=version % 2 == 0)
            if version % 2 == 0:
                with pytest.raises(GateFailed):
                    build(f"run {version}", *made)
                continue
            transform = build(f"run {version}", *made)
            patience = chance.uniform(0, 0.05) if version % 3 == 0 else None
            (published if _done(pipeline, transform.publish, patience) else killed).append(version)
    finally:
        for reader in readers:
            reader.stopped.set()
        for thread in threads:
            thread.join()
    assert killed
    assert len(published) > 10
    for reader in readers:
        assert reader.errors == []
        assert all(rows == again == ROWS for _, rows, _, again in reader.seen)
        assert all(len(one) == 1 and one == two for one, _, two, _ in reader.seen)
        versions = [one[0] for one, *_ in reader.seen]
        assert versions == sorted(versions)
        # one whose session was ended may have been published all the same; one that failed its gate never
        assert set(versions) <= {*published, *killed}
        assert len(set(versions)) > 10
    ((last,),) = pipeline.at_warehouse("select distinct v from marts.one")
    assert last >= published[-1]


def _done(pipeline: Pipeline, publish: Callable[[], Any], patience: float | None) -> bool:
    """Whether a publication came to its end; its session is ended after so many seconds, whatever it does then."""
    over = threading.Event()

    def end() -> None:
        over.wait(patience)
        while not over.is_set():
            pipeline.at_warehouse(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where usename = 'millrace_transformer' and datname = current_database()"
            )

    killer = threading.Thread(target=end)
    if patience is not None:
        killer.start()
    try:
        publish()
    except TransientError:
        return False
    finally:
        over.set()
        if patience is not None:
            killer.join()
    return True
