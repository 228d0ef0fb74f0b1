"""Watching through the real path: what is history and what is not, what a mart's columns did, and how a person sees it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from typer.testing import CliRunner

from include.cli import connections
from include.cli.main import app
from include.core.contracts import TransformContract
from include.core.control import Figure
from include.core.errors import GateFailed
from include.core.interval import Interval
from include.flows.transform import Transform
from include.warehouse import metrics
from tests.support.pipeline import Pipeline, contract
from tests.support.store import ORDERS
from tests.support.watched import past_load

DAY = timedelta(days=1)
FIRST = datetime(2026, 3, 2, tzinfo=timezone.utc)
STORE = {**ORDERS, "deletes": "none"}


def states(shop: Pipeline, metric: str, column: str = "") -> list[tuple[Any, ...]]:
    return shop.at_warehouse(
        "select state, value from ledger.metric where dataset = 'raw_store.orders' and metric = %s and column_name = %s"
        " order by at, load_id",
        metric,
        column,
    )


def a_day(shop: Pipeline, number: int, rows: int = 40, days: int = 1) -> Interval:
    """So many orders of the day that ends at the interval's end."""
    end = FIRST + number * DAY
    shop.at_source(
        "insert into orders (id, customer, total, note, updated_at) select 10000 * %s + i, 1 + i %% 50, i %% 40, 'n',"
        " %s::timestamptz - interval '1 hour' from generate_series(1, %s) i",
        number, end, rows,
    )  # fmt: skip
    return Interval(end - days * DAY, end)


@pytest.fixture
def watched(shop: Pipeline) -> Pipeline:
    """A store whose orders came in every day for some time; most days are figures only."""
    shop.at_source("update orders set updated_at = '2026-02-01Z'")
    store = contract("store", [STORE])
    shop.pull(store, Interval(None, FIRST))
    shop.pull(store, a_day(shop, 1))
    shop.at_warehouse(
        "with before as (select * from ledger.load where run_id = 'run-2'),"
        " loads as (insert into ledger.load (source, run_id, kind, interval_end, status)"
        "  select source, 'past-' || n, kind, interval_end - n * interval '1 day', 'published' from before,"
        "  generate_series(1, 30) n returning load_id, run_id, interval_end),"
        " streams as (insert into ledger.load_stream (load_id, stream, mode, status, schema_fingerprint, extracted, landed,"
        "  bytes, parts, seconds) select load_id, 'orders', 'incremental', 'published', '', 0, 0, 0, 0, 0 from loads)"
        " insert into ledger.metric (dataset, run_id, load_id, at, metric, column_name, value, sample, spread, unit, state)"
        " select dataset, l.run_id, l.load_id, l.interval_end, metric, column_name, value, sample, spread, unit, 'in'"
        "  from ledger.metric m, loads l where m.run_id = 'run-2'"
    )
    return shop


def test_the_first_read_is_no_history_and_figures_wait_for_some(shop: Pipeline) -> None:
    shop.at_source("update orders set updated_at = '2026-02-01Z'")
    store = contract("store", [STORE])
    shop.pull(store, Interval(None, FIRST))
    shop.pull(store, a_day(shop, 1))
    assert states(shop, "rows") == [("left_out", 1000), ("quiet", 40)]
    assert shop.at_warehouse(
        "select count(*) from ledger.metric where metric = 'p50' and column_name = 'total'"
    ) == [(2,)]


def test_backfills_and_rejected_batches_are_left_out(watched: Pipeline) -> None:
    store = contract("store", [STORE])
    a_day(watched, -3, rows=900)
    watched.pull(store, Interval(FIRST - 4 * DAY, FIRST - 3 * DAY), backfill=True)
    assert ("left_out", 900) in states(watched, "rows")
    interval = a_day(watched, 2)
    watched.at_source("update orders set total = -1 where id > 20000 and id < 29999")
    with pytest.raises(GateFailed):
        watched.pull(store, interval)
    about = metrics.Run("raw_store.orders", "next", 0, FIRST + 9 * DAY)
    with psycopg.connect(watched.warehouse) as session:
        found = metrics.history(session, about, ZoneInfo("UTC"), ["rows"])["rows", ""]
    points = {point.at: point.state for point in found}
    # kept with the others, and no figure that limits are made of
    assert points[FIRST - 3 * DAY] == "left_out"
    assert FIRST + 2 * DAY not in points
    assert points[FIRST + DAY] == "quiet"


def test_twice_the_time_is_another_amount_and_no_alarm(watched: Pipeline) -> None:
    store = contract("store", [STORE])
    published = watched.pull(store, a_day(watched, 3, rows=110, days=2))
    assert published.streams[0]["failures"] == []
    assert states(watched, "rows")[-1] == ("left_out", 110)
    assert states(watched, "nulls", "note")[-1] == ("in", 0)


def test_what_is_out_is_told_with_its_chart_and_what_nobody_wants_is_not(watched: Pipeline) -> None:
    only = {**STORE, "watch": {"metrics": ["rows", "nulls"], "leave_out": ["note"]}}
    interval = a_day(watched, 2, rows=400)
    watched.at_source("update orders set note = null where id between 20000 and 29999")
    (failure,) = watched.pull(contract("store", [only]), interval).streams[0]["failures"]
    assert failure["severity"] == "warning"
    assert failure["rule"].startswith("rows is between ")
    assert failure["observed"] == "400"
    assert failure["chart"] == "▁" * 30 + " █  the last 30 batches, and 400 now"
    assert states(watched, "rows")[-1] == ("out", 400)
    # what was not told is kept, and is no alarm
    assert states(watched, "nulls", "note")[-1] == ("quiet", 1)
    # a repeated audit leaves one set of figures
    assert len(states(watched, "rows")) == 33


def test_a_person_sees_them_and_says_what_counts(watched: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "find", watched.connect)
    store = contract("store", [STORE])
    watched.pull(store, a_day(watched, 2, rows=400))
    run = CliRunner().invoke
    assert "raw_store.orders" in run(app, ["metrics"]).output
    shown = run(app, ["metrics", "raw_store.orders", "-n", "3"]).output
    assert "2026-03-04 00:00" in shown and "out" in shown and "●" in shown and "Wednesdays" in shown
    assert "typical total" in run(app, ["metrics", "raw_store.orders", "--column", "total"]).output
    missing = run(app, ["metrics", "raw_store.orders", "--column", "nothing"])
    assert missing.exit_code == 1 and "updated_at" in missing.output
    assert run(app, ["metrics", "raw_store.orders", "--mark", "wrong"]).exit_code == 2
    marked = run(app, ["metrics", "raw_store.orders", "--mark", "normal", "--since", "2026-03-04"])
    assert marked.output == "1 batches of raw_store.orders marked: normal\n"
    watched.pull(store, a_day(watched, 3, rows=400))
    assert states(watched, "rows")[-1] == ("quiet", 400)
    span = ["--since", "2026-02-01", "--until", "2026-02-11"]
    assert run(app, ["metrics", "raw_store.orders", "--mark", "incident", *span]).output.startswith(
        "10 batches"
    )


def test_columns_of_a_mart_that_come_go_or_change_are_told(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: Any
) -> None:
    suite = tmp_path / "suites" / "marts" / "one.py"
    suite.parent.mkdir(parents=True)
    suite.write_text("def expectations():\n    return []\n")
    monkeypatch.setenv("MILLRACE_SUITES", str(tmp_path / "suites"))
    node = {
        "resource_type": "model", "name": "one", "schema": "marts_candidate", "columns": {},
        "constraints": [{"type": "primary_key", "columns": ["id"]}],
    }  # fmt: skip
    (tmp_path / "manifest.json").write_text(json.dumps({"nodes": {"model.shop.one": node}}))
    shop = TransformContract.model_validate(
        {
            "transform": "shop", "description": "test", "owner": {"team": "testers", "contact": "testers@example.com"},
            "deadline": {"after_queueing": "1h"}, "sources": ["shop"], "select": ["path:models"],
        }
    )  # fmt: skip

    def build(run_id: str, columns: str, backfill: bool = False) -> list[str]:
        transform = Transform(shop, pipeline.connect, run_id, tmp_path / "manifest.json")
        transform.begin()
        uri = pipeline.connect("warehouse_transformer").postgres_uri()
        with psycopg.connect(uri, autocommit=True) as session:
            session.execute(
                f"create table marts_candidate.one as select {columns} from generate_series(1, 30) i".encode()
            )
        verdict = transform.audit("marts", "one", backfill)
        transform.publish()
        assert verdict.passed and {failure.severity for failure in verdict.failures} <= {"warning"}
        return [failure.observed for failure in verdict.failures]

    assert build("1", "i as id, 1.5 as amount, 'x' as gone") == []
    told = build("2", "i as id, 1.5::float8 as amount, true as added")
    assert told == [
        "added (boolean) is new",
        "gone (text) is gone",
        "amount is double precision and was numeric",
    ]
    assert build("3", "i as id, 1.5::float8 as amount, true as added", backfill=True) == []
    kept = pipeline.at_warehouse(
        "select run_id, state from ledger.metric where dataset = 'marts.one' and metric = 'typical'"
        " and column_name = 'amount' order by run_id"
    )
    assert kept == [("1", "quiet"), ("2", "quiet"), ("3", "left_out")]


def test_old_figures_go(pipeline: Pipeline) -> None:
    with psycopg.connect(pipeline.warehouse, autocommit=True) as session:
        for age in (300, 100, 0):
            past_load(session, "orders", FIRST - age * DAY, [Figure("rows", "", 1, 1)])
    kept = pipeline.at_warehouse("select at from ledger.metric order by at")
    assert kept == [(FIRST - 100 * DAY,), (FIRST,)]
