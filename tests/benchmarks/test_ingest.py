"""What each step of an ingest costs, as a ratio to the least that Postgres itself needs for it, in the same run.

    BENCH_ROWS=5000000 make bench

The steps and their limits run in turns, so that a busy moment of the machine hits both; the median of the turns counts.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone

import psycopg
import pytest

from include.core.interval import Interval
from include.flows.extract import extract
from include.flows.load import stage
from include.flows.publish import close, publish
from include.flows.source_run import SourceRun
from include.stack import postgres
from include.warehouse import ledger, staging
from include.warehouse.connect import connected
from tests.support.pipeline import Pipeline, contract

ROWS = int(os.environ.get("BENCH_ROWS", "500000"))
TURNS = 3
#: Peak memory of the process, whatever the rows: the promise that this benchmark holds.
MOST_MEMORY_MB = 700

COLUMNS = {
    "id": "bigint",
    "customer": "integer",
    "total": "numeric(12,2)",
    "rate": "double precision",
    "status": "text",
    "note": "text",
    "paid": "boolean",
    "placed_on": "date",
    "extra": "jsonb",
    "reference": "uuid",
    "updated_at": "timestamp with time zone",
}
FILL = """
insert into big select i, i %% 50000, i / 7.0, i / 3.0, (array['new', 'paid', 'sent'])[1 + i %% 3],
       'a note of some length, number ' || i, i %% 2 = 0, date '2024-01-01' + (i %% 700)::int,
       jsonb_build_object('n', i, 'tags', array['a', 'b']), md5(i::text)::uuid,
       timestamptz '2026-01-01' + i * interval '1 second'
  from generate_series(1, %s) i
"""


@dataclass
class Timings:
    """Seconds of a step and of its limit, turn by turn."""

    ours: list[float] = field(default_factory=list)
    limit: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        return statistics.median(a / b for a, b in zip(self.ours, self.limit, strict=True))


@pytest.fixture
def source(pipeline: Pipeline) -> Pipeline:
    body = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    pipeline.at_source(f"create table big ({body}, primary key (id))")
    pipeline.at_source(FILL, ROWS)
    pipeline.at_source("vacuum analyze big")
    return pipeline


def test_an_ingest_beside_what_postgres_itself_needs(
    source: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    big = contract(
        "bench",
        [
            {
                "name": "big",
                "table": "public.big",
                "primary_key": ["id"],
                "mode": "incremental",
                "cursor": "updated_at",
                "columns": {name: {"type": kind} for name, kind in COLUMNS.items()},
            }
        ],
    )
    steps = {name: Timings() for name in ("extract", "stage", "publish")}
    for turn in range(TURNS):
        _turn(source, source.run(big, f"turn {turn}"), steps)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with capsys.disabled():
        print(
            f"\n{ROWS:,} rows x {len(COLUMNS)} columns, median of {TURNS} turns; peak memory {memory:,.0f} MB"
        )
        for name, timings in steps.items():
            ours, limit = statistics.median(timings.ours), statistics.median(timings.limit)
            print(f"  {name:<8} {ours:7.2f} s   limit {limit:7.2f} s   ratio {timings.ratio:5.2f}")
    assert memory < MOST_MEMORY_MB


def _turn(source: Pipeline, run: SourceRun, steps: dict[str, Timings]) -> None:
    now = Interval(None, datetime.now(timezone.utc))
    steps["extract"].limit.append(_seconds(lambda: _copy_out(source)))
    started = time.perf_counter()
    landed = extract(run, now, full_refresh=True)
    steps["extract"].ours.append(time.perf_counter() - started)

    steps["stage"].ours.append(_seconds(lambda: stage(run, landed.load_id, "big")))
    table = f"{staging.SCHEMA}.{staging.table_name(landed.load_id, 'big')}"
    steps["stage"].limit.append(_seconds(lambda: _copy_through(source, table)))

    _accept(source, landed.load_id)
    source.at_warehouse("drop table if exists public.bare")
    source.at_warehouse(f"create table public.bare as table {table} with no data")
    source.at_warehouse("alter table public.bare add primary key (id)")
    bare = f"insert into public.bare table {table} on conflict (id) do nothing"
    steps["publish"].limit.append(_seconds(lambda: source.at_warehouse(bare)))
    source.at_warehouse("drop schema if exists raw_bench cascade")
    steps["publish"].ours.append(_seconds(lambda: publish(run, landed.load_id)))
    close(run, landed.load_id)


def _seconds(step: Callable[[], object]) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def _copy_out(pipeline: Pipeline) -> None:
    """The limit of extract: the source sends every row, and nobody looks at them."""
    psql = str(postgres.package_binaries() / "psql")
    command = [psql, pipeline.source, "-qc", r"\copy big to /dev/null (format binary)"]
    subprocess.run(command, check=True)


def _copy_through(pipeline: Pipeline, table: str) -> None:
    """The limit of stage: the same rows in binary form into a table like the staging batch."""
    pipeline.at_warehouse("drop table if exists public.limit_of_stage")
    pipeline.at_warehouse(f"create unlogged table public.limit_of_stage as table {table} with no data")
    with psycopg.connect(pipeline.warehouse) as reader, psycopg.connect(pipeline.warehouse) as writer:
        with (
            reader.cursor().copy(f"copy {table} to stdout (format binary)".encode()) as rows,
            writer.cursor().copy(b"copy public.limit_of_stage from stdin (format binary)") as into,
        ):
            for block in rows:
                into.write(block)
        writer.commit()


def _accept(pipeline: Pipeline, load_id: int) -> None:
    """What an audit that finds nothing leaves in the ledger. The audit itself is not measured here."""
    with connected(pipeline.connect("warehouse_loader")) as session:
        ledger.record_audit(session, load_id, "big", passed=True, expectations=0, failures=[])
