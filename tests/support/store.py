"""A small shop as a source: two tables, their contract, and what the ledger counts of them."""

from __future__ import annotations

from typing import Any

from tests.support.pipeline import Pipeline

ORDERS: dict[str, Any] = {
    "name": "orders",
    "table": "public.orders",
    "primary_key": ["id"],
    "mode": "incremental",
    "cursor": "updated_at",
    "deletes": "keys",
    "columns": {
        "id": {"type": "integer"},
        "customer": {"type": "integer"},
        "total": {"type": "numeric(12,2)", "min": 0},
        "note": {"type": "text"},
        "extra": {"type": "jsonb"},
        "updated_at": {"type": "timestamp with time zone", "not_null": True},
    },
}
CUSTOMERS: dict[str, Any] = {
    "name": "customers",
    "table": "public.customers",
    "primary_key": ["id"],
    "mode": "snapshot",
    "deletes": "snapshot",
    "columns": {"id": {"type": "integer"}, "email": {"type": "text", "pii": "email", "pattern": "@"}},
}
COLUMNS = "id, customer, total, note, extra, updated_at"


def counts(pipeline: Pipeline, load_id: int, stream: str) -> tuple[Any, ...]:
    return pipeline.at_warehouse(
        "select extracted, landed, staged, inserted, updated, unchanged, deleted from ledger.load_stream"
        " where load_id = %s and stream = %s",
        load_id,
        stream,
    )[0]
