"""What each step of an ingest costs, as a ratio to the least that Postgres itself needs for it, in the same turn.

    BENCH_ROWS=1000,100000,5000000 make bench
    BENCH_ROWS=5000000 BENCH_TABLES=1 BENCH_DLT=0 make bench ARGS="-k mixed"

Every step is a process of its own. Steps, limits and dlt take turns, so that a busy moment of the machine hits all of them;
the median of the turns' ratios counts.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from include.warehouse import staging
from tests.benchmarks.measured import HEAD, Bench, Cost, in_turns
from tests.benchmarks.tables import LINEITEM, MIXED, SMALL, described, fill_lineitem, fill_mixed, fill_small
from tests.support.pipeline import Pipeline
from tests.support.stack import S3Store

ROWS = [int(rows) for rows in os.environ.get("BENCH_ROWS", "1000,100000").split(",")]
TABLES = [int(tables) for tables in os.environ.get("BENCH_TABLES", "1,10,200").split(",")]
TURNS = int(os.environ.get("BENCH_TURNS", "3"))
DLT = os.environ.get("BENCH_DLT", "1") == "1"
#: Peak memory of the process, whatever the rows: the promise that this benchmark holds.
MOST_MEMORY_MB = 400


def _show(capsys: pytest.CaptureFixture[str], title: str, lines: list[object]) -> None:
    with capsys.disabled():
        print(f"\n\n{title}, {TURNS} turns\n\n{HEAD}")
        for line in lines:
            print(line)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("table", [MIXED, LINEITEM], ids=lambda table: table.name)
def test_one_table_beside_what_postgres_itself_needs(
    pipeline: Pipeline,
    s3_store: S3Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    table: object,
    rows: int,
) -> None:
    one = MIXED if table is MIXED else LINEITEM
    if one is MIXED:
        fill_mixed(pipeline, rows)
    else:
        fill_lineitem(pipeline, rows, tmp_path)
    bench, binary = Bench(pipeline, s3_store, described(one)), tmp_path / "rows"
    bench.psql(pipeline.source, rf"\copy {one.name} to {binary} (format binary)")

    def batch() -> str:
        return f"{staging.SCHEMA}.{staging.table_name(bench.load, one.name)}"

    def copy_in() -> Cost:
        pipeline.at_warehouse("drop table if exists public.copied")
        pipeline.at_warehouse(f"create unlogged table public.copied ({one.ddl})")
        return bench.psql(pipeline.warehouse, rf"\copy public.copied from {binary} (format binary)")

    def insert() -> Cost:
        pipeline.at_warehouse("drop table if exists public.bare")
        pipeline.at_warehouse(f"create table public.bare ({one.ddl}, primary key ({', '.join(one.key)}))")
        statement = f"insert into public.bare table {batch()} on conflict ({', '.join(one.key)}) do nothing"
        cost = bench.psql(pipeline.warehouse, statement)
        pipeline.at_warehouse("drop schema if exists raw_bench cascade")
        return cost

    lines = in_turns(TURNS, [
        ("COPY out", lambda: bench.psql(pipeline.source, rf"\copy {one.name} to /dev/null (format binary)"), "COPY out"),
        ("extract", lambda: bench.ours("extract"), "COPY out"),
        *([("dlt to S3", lambda: bench.dlt("s3"), "COPY out")] if DLT else []),
        ("COPY in", copy_in, "COPY in"),
        ("stage", lambda: bench.ours("stage"), "COPY in"),
        ("insert", insert, "insert"),
        ("publish", lambda: bench.ours("publish"), "insert"),
        *([("dlt to Postgres", lambda: bench.dlt("postgres"), "COPY in")] if DLT else []),
    ])  # fmt: skip
    _show(capsys, f"{one.name}, {rows:,} rows", list(lines))
    assert (
        pipeline.same(one.name, f"raw_bench.{one.name}", ", ".join(one.columns)) if rows <= 100_000 else True
    )
    assert (
        max(cost.peak for line in lines if not line.name.startswith("dlt") for cost in line.costs)
        < MOST_MEMORY_MB
    )


@pytest.mark.parametrize("rows", [1000, 10_000])
@pytest.mark.parametrize("tables", TABLES)
def test_many_small_tables_beside_one_session_of_copy(
    pipeline: Pipeline, s3_store: S3Store, capsys: pytest.CaptureFixture[str], tables: int, rows: int
) -> None:
    fill_small(pipeline, tables, rows)
    names = [f"small_{number}" for number in range(tables)]
    bench = Bench(pipeline, s3_store, described(SMALL, *names))
    copies = [rf"\copy {name} to /dev/null (format binary)" for name in names]
    lines = in_turns(TURNS, [
        ("COPY out", lambda: bench.psql(pipeline.source, *copies), "COPY out"),
        ("extract", lambda: bench.ours("extract"), "COPY out"),
        *([("dlt to S3", lambda: bench.dlt("s3"), "COPY out")] if DLT else []),
    ])  # fmt: skip
    _show(capsys, f"{tables} tables of {rows:,} rows", list(lines))
    assert bench.load


def test_a_pull_that_finds_nothing(
    pipeline: Pipeline, s3_store: S3Store, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"small_{number}" for number in range(10)]
    fill_small(pipeline, len(names), 1000)
    # old rows: what was stamped just now is read again until the horizon has passed it
    bench = Bench(pipeline, s3_store, described(replace(SMALL, cursor="at"), *names))
    for step in ("extract", "stage", "publish"):
        bench.ours(step)
    lines = in_turns(TURNS, [
        ("nothing", lambda: bench.psql(pipeline.source, "select 1"), "nothing"),
        ("pull", lambda: bench.ours("pull", full=False), "nothing"),
    ])  # fmt: skip
    _show(
        capsys,
        "10 tables of which nothing has changed, from extract to close, in a task's warm process",
        list(lines),
    )
    (extracted,) = pipeline.at_warehouse("select sum(extracted) from ledger.load_stream where load_id > 1")
    assert extracted == (0,)


@pytest.mark.parametrize("rows", [rows for rows in ROWS if rows >= 100_000])
def test_an_increment_costs_what_has_changed(
    pipeline: Pipeline, s3_store: S3Store, capsys: pytest.CaptureFixture[str], rows: int
) -> None:
    fill_mixed(pipeline, rows)
    bench = Bench(pipeline, s3_store, described(MIXED))
    for step in ("extract", "stage", "publish"):
        bench.ours(step)
    columns = ", ".join(MIXED.columns)
    changes = ", ".join(f"{name} = excluded.{name}" for name in MIXED.columns if name != "id")
    pipeline.at_warehouse(f"create table public.bare ({MIXED.ddl}, primary key (id))")
    pipeline.at_warehouse(f"insert into public.bare select {columns} from raw_bench.mixed")
    pipeline.at_warehouse("vacuum analyze public.bare")
    pipeline.at_warehouse("vacuum analyze raw_bench.mixed")
    changed = rows // 50

    def change() -> Cost:
        return bench.psql(
            pipeline.source,
            "update mixed set customer = customer + 1, updated_at = clock_timestamp() + interval '1 year' where id % 50 = 1",
        )

    def insert() -> Cost:
        batch = f"{staging.SCHEMA}.{staging.table_name(bench.load, 'mixed')}"
        statement = f"insert into public.bare table {batch} on conflict (id) do update set {changes}"
        return bench.psql(pipeline.warehouse, statement)

    lines = in_turns(TURNS, [
        ("change", change, "change"),
        ("extract", lambda: bench.ours("extract", full=False), "change"),
        ("stage", lambda: bench.ours("stage", full=False), "change"),
        ("insert", insert, "insert"),
        ("publish", lambda: bench.ours("publish", full=False), "insert"),
    ])  # fmt: skip
    _show(
        capsys,
        f"{changed:,} changes in {rows:,} rows (extract, stage: beside the UPDATE at the source)",
        list(lines),
    )
    assert pipeline.at_warehouse("select count(*) from raw_bench.mixed") == [(rows,)]
