"""Reverse ETL into a table: the first delivery beside the least that Postgres needs for it and beside executemany, and a
change of one in a hundred.

    BENCH_SYNCED=1000000 make bench ARGS="-k sync_postgres"

least        COPY into a temporary table, then one INSERT … ON CONFLICT; nothing is remembered
executemany  the same upsert, row by row in batches of the same size; nothing is remembered
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable

import psycopg

from include import activation
from tests.support.activation import COLUMNS, Crm, Warehouse, contract, crm, people, warehouse

ROWS = int(os.environ.get("BENCH_SYNCED", "1000000"))
TURNS = int(os.environ.get("BENCH_TURNS", "3"))
BATCH = 5000
_NAMES = ", ".join(COLUMNS)
_UPSERT = (
    f"insert into crm.contacts ({_NAMES}) {{rows}} on conflict (external_id) do update set "
    + ", ".join(f"{name} = excluded.{name}" for name in COLUMNS[1:])
)


def seconds(step: Callable[[], object]) -> float:
    begun = time.perf_counter()
    step()
    return time.perf_counter() - begun


def least(source: Warehouse, target: Crm) -> None:
    with psycopg.connect(source.admin) as ours, psycopg.connect(target.admin) as theirs:
        theirs.execute(f"create temporary table batch as select {_NAMES} from crm.contacts with no data")
        out = ours.cursor().copy(f"copy (select {_NAMES} from activation.contacts) to stdout (format binary)")
        with out as rows, theirs.cursor().copy("copy batch from stdin (format binary)") as batch:
            for part in rows:
                batch.write(part)
        theirs.execute(_UPSERT.format(rows=f"select {_NAMES} from batch").encode())


def executemany(source: Warehouse, target: Crm) -> None:
    values = f"values ({', '.join(['%s'] * len(COLUMNS))})"
    with (
        psycopg.connect(source.admin) as ours,
        psycopg.connect(target.admin) as theirs,
        ours.cursor("rows") as rows,
    ):
        rows.execute(f"select {_NAMES} from activation.contacts".encode())
        while part := rows.fetchmany(BATCH):
            theirs.cursor().executemany(_UPSERT.format(rows=values).encode(), part)


def ours(source: Warehouse, target: Crm) -> activation.SyncReport:
    return activation.run(contract(batch_size=BATCH), source.connection, target.connection, run_id="bench")


def test_postgres_beside_the_least_and_executemany(database: Callable[..., str]) -> None:
    source, target = warehouse(database("warehouse")), crm(database("crm"))
    source.publish(people(ROWS))
    print(f"\n{ROWS:,} rows, seconds\n")
    print("| ours | least | executemany | rows/s | 1 % changed | bytes remembered of a record | peak MB |")
    print("|---|---|---|---|---|---|---|")
    for turn in range(TURNS):
        empty = "truncate crm.contacts cascade"
        target.execute(empty)
        limit = seconds(lambda: least(source, target))
        target.execute(empty)
        naive = seconds(lambda: executemany(source, target))
        target.execute(empty)
        source.execute("truncate ledger.sync_record, ledger.sync_run")
        first = seconds(lambda: ours(source, target))
        source.change(
            f"update contacts set segment = 'turn {turn}' where substr(external_id, 2)::int % 100 = 0"
        )
        source.execute("analyze ledger.sync_record")
        changed = seconds(lambda: ours(source, target))
        runs = source.runs()
        assert [run["delivered"] for run in runs] == [ROWS, ROWS // 100]
        size = source.execute("select pg_total_relation_size('ledger.sync_record')")[0][0] / ROWS
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"| {first:.1f} | {limit:.1f} | {naive:.1f} | {ROWS / first:,.0f} | {changed:.1f} | {size:.0f} |"
            f" {peak:,.0f} |"
        )
