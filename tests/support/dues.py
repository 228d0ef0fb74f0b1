"""A source and a transform that have deadlines, and what the watch finds of them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from include.core.contracts import SourceContract
from include.core.interval import Interval
from include.flows import deadlines
from tests.support.pipeline import Pipeline, answers

STREAM = {
    "name": "items",
    "table": "depot.items",
    "primary_key": ["id"],
    "mode": "incremental",
    "cursor": "updated_at",
    "columns": {"id": {"type": "bigint"}, "updated_at": {"type": "timestamp with time zone"}},
}
ANYBODY = {"on_missed_deadline": ["engineers"], "consumers": ["consumers"]}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


def depot(**fields: Any) -> dict[str, Any]:
    daily = {"cron": "0 0 * * *", "start": "2026-01-01"}
    return answers("depot", [STREAM]) | {"schedule": daily, "alerts": ANYBODY} | fields


def marts(**fields: Any) -> dict[str, Any]:
    return {
        "transform": "depot",
        "description": "test",
        "owner": {"team": "testers", "contact": "testers@example.com"},
        "sources": ["depot"],
        "select": ["path:models"],
        "deadline": {"after_queueing": "1h"},
        **fields,
    }


def judge(pipeline: Pipeline, now: datetime, began: bool = True) -> list[tuple[str, bool, str]]:
    """One pass of the watch, and that all it found was told: rule, whether it is over, what it says."""
    found = deadlines.watch(pipeline.connect, lambda dag_id, dates: began, now)
    for finding in found:
        if not finding.over:
            deadlines.told(pipeline.connect, finding.deadline)
    return [(finding.deadline.rule, finding.over, finding.what) for finding in found]


def rows(pipeline: Pipeline) -> list[tuple[Any, ...]]:
    return pipeline.at_warehouse(
        "select rule, due_at, met, reached_at is not null from ledger.deadline order by due_at, rule"
    )


def pull(pipeline: Pipeline, end: datetime, **options: Any) -> None:
    pipeline.pull(SourceContract.model_validate(depot()), Interval(None, end), **options)
