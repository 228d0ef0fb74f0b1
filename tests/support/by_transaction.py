"""A stream that is read by the transactions of its rows, and what tests ask of it."""

from __future__ import annotations

from typing import Any

from include.core.contracts import SourceContract
from tests.support.pipeline import Pipeline
from tests.support.store import COLUMNS, ORDERS

BY_XMIN = ORDERS | {"cursor": "xmin"}
TABLE = (
    "create table orders (id int primary key, customer int, total numeric(12,2), note text, extra jsonb,"
    " updated_at timestamptz not null default clock_timestamp());"
    "insert into orders (id, customer, total) select i, 1, i from generate_series(1, 100) i"
)
WRITE = "insert into orders (id, customer, total) values (%s, 1, 1)"


def same(pipeline: Pipeline) -> bool:
    return pipeline.same("orders", "raw_store.orders", COLUMNS)


def read(pipeline: Pipeline, store: SourceContract, **options: Any) -> int:
    """Rows that one pull has read."""
    (stream,) = pipeline.pull(store, **options).streams
    return int(stream["extracted"])


def marks(pipeline: Pipeline) -> tuple[Any, Any]:
    ((mark, watermark),) = pipeline.at_warehouse("select mark, watermark from ledger.watermark")
    return mark, watermark
