"""A source with two tables that get a row a day, as the transform `shop` reads it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from include.core.interval import Interval
from include.flows.publish import Published
from tests.support.pipeline import Pipeline, answers, contract
from tests.support.transforms import SHOP

DAY = timedelta(days=1)
_STREAMS: list[dict[str, Any]] = [
    {
        "name": name, "table": f"public.{name}", "primary_key": ["id"], "mode": "incremental", "cursor": "at",
        "deletes": "none",
        "columns": {
            "id": {"type": "integer"}, "amount": {"type": "integer", "min": 0},
            "at": {"type": "timestamp with time zone"},
        },
    }
    for name in ("orders", "refunds")
]  # fmt: skip
_RULES = {"on_failed_audit": "stop_stream"}
SOURCE = contract("shop", _STREAMS, **_RULES)


def opened(pipeline: Pipeline, contracts: Path) -> Pipeline:
    """Rows from 2026-01-01 to 2026-05-01, each at noon; and the contracts of source and transform."""
    for table in ("orders", "refunds"):
        pipeline.at_source(
            f"create table {table} (id int primary key, amount int, at timestamptz);"
            f"insert into {table} select n, n, timestamptz '2026-01-01 12:00Z' + n * interval '1 day'"
            " from generate_series(0, 120) n"
        )
    said = {
        "sources": answers("shop", _STREAMS) | _RULES,
        "transforms": SHOP.model_dump(mode="json", include=SHOP.model_fields_set)
        | {"deadline": {"after_queueing": "1h"}},
    }
    for folder, one in said.items():
        (contracts / folder).mkdir(parents=True)
        (contracts / folder / "shop.yaml").write_text(json.dumps(one))
    return pipeline


def at(day: str) -> datetime:
    """The beginning of a day."""
    return datetime.fromisoformat(f"{day}T00:00:00+00:00")


def pull(pipeline: Pipeline, until: str) -> Published:
    """A regular load of what there is until the beginning of a day."""
    return pipeline.pull(SOURCE, Interval(None, at(until)))


def again(pipeline: Pipeline, day: str) -> Published:
    """A backfill of one day."""
    return pipeline.pull(SOURCE, Interval(at(day), at(day) + DAY), backfill=True)
