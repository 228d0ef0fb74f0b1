"""A source that has lived through some loads, and replays of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from include.core.contracts import SourceContract
from include.core.interval import Interval
from include.flows.replay import Replay
from include.flows.replay_plan import Scope, StreamPlan
from include.warehouse.rebuild import Rebuilt
from tests.support.pipeline import Pipeline
from tests.support.store import CUSTOMERS, ORDERS

LOG: dict[str, Any] = {
    "name": "log",
    "table": "public.log",
    "mode": "snapshot",
    "columns": {"at": {"type": "timestamp with time zone"}, "line": {"type": "text"}},
}
REFUNDS: dict[str, Any] = {
    "name": "Refunds %s",
    "table": 'public."Re funds"',
    "primary_key": ["order", "no"],
    "mode": "incremental",
    "cursor": "at",
    "deletes": "keys",
    "deleted_rows": "remove",
    "columns": {
        "order": {"type": "integer"},
        "no": {"type": "integer"},
        "%(a)s": {"type": "double precision"},
        "at": {"type": "timestamp with time zone"},
    },
}
STREAMS = [CUSTOMERS, ORDERS, LOG, REFUNDS]
SAME = Rebuilt(0, 0, 0, 0)


def lived(pipeline: Pipeline, store: SourceContract) -> list[int]:
    """Five loads with inserts, updates, deletes and rows that came back; the fourth is a backfill."""
    loads = [pipeline.pull(store).load_id]
    pipeline.at_source(
        "update orders set total = total + 1, updated_at = clock_timestamp() where id <= 10;"
        "delete from orders where id between 11 and 15; delete from customers where id in (49, 50);"
        "insert into orders (id, customer, total) values (2001, 1, 5), (2002, 2, 6);"
        "update customers set email = 'new' || email where id <= 5; insert into log values (null, 'b'), (null, 'b');"
        'delete from "Re funds" where "order" <= 20; insert into "Re funds" values (1, 2, \'NaN\')'
    )
    loads.append(pipeline.pull(store).load_id)
    pipeline.at_source(
        "insert into orders (id, customer, total) values (11, 3, 1); delete from orders where id = 2001;"
        "insert into customers values (50, 'back@example.com'); delete from log where line = 'a' and at is null;"
        "update orders set note = 'later', updated_at = clock_timestamp() where id in (9, 20)"
    )
    loads.append(pipeline.pull(store).load_id)
    pipeline.at_source("update orders set note = 'unstamped' where id = 30")
    day = datetime(2020, 1, 1, tzinfo=timezone.utc)
    loads.append(pipeline.pull(store, Interval(day, datetime.now(timezone.utc)), backfill=True).load_id)
    pipeline.at_source("delete from customers where id = 7; delete from orders where id = 500")
    loads.append(pipeline.pull(store).load_id)
    return loads


def image(pipeline: Pipeline, store: SourceContract) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of raw as text, with load id, times and tombstone."""
    return {
        stream.name: pipeline.at_warehouse(
            f'select r::text from {store.raw_schema}."{stream.name}" as r order by 1'
        )
        for stream in store.streams
    }


def replayed(pipeline: Pipeline, store: SourceContract, *streams: str, **scope: Any) -> dict[str, Rebuilt]:
    return Replay(pipeline.run(store), Scope(streams, **scope)).replay()


def planned(pipeline: Pipeline, store: SourceContract, *streams: str, **scope: Any) -> dict[str, StreamPlan]:
    found = Replay(pipeline.run(store), Scope(streams, **scope)).plan()
    return {one.stream: one for one in found}


@contextmanager
def source_away(pipeline: Pipeline) -> Iterator[None]:
    there = pipeline.connections["source"]
    pipeline.connections["source"] = replace(there, port=1)
    try:
        yield
    finally:
        pipeline.connections["source"] = there
