"""The tables that are measured: one of mixed types, and TPC-H's lineitem (https://www.tpc.org/tpch/, section 1.4.1)."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import psycopg

from include.core.contracts import SourceContract
from tests.benchmarks import others
from tests.support.pipeline import Pipeline, contract


@dataclass(frozen=True)
class Table:
    """A table's columns with their types, its key, and the cursor of those that are read in increments."""

    name: str
    columns: dict[str, str]
    key: tuple[str, ...]
    cursor: str | None = None

    @property
    def ddl(self) -> str:
        return ", ".join(f"{name} {kind}" for name, kind in self.columns.items())


MIXED = Table(
    "mixed",
    {
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
    },
    ("id",),
    "updated_at",
)
LINEITEM = Table(
    "lineitem",
    {
        "l_orderkey": "bigint",
        "l_partkey": "bigint",
        "l_suppkey": "bigint",
        "l_linenumber": "integer",
        "l_quantity": "numeric(15,2)",
        "l_extendedprice": "numeric(15,2)",
        "l_discount": "numeric(15,2)",
        "l_tax": "numeric(15,2)",
        "l_returnflag": "character(1)",
        "l_linestatus": "character(1)",
        "l_shipdate": "date",
        "l_commitdate": "date",
        "l_receiptdate": "date",
        "l_shipinstruct": "character(25)",
        "l_shipmode": "character(10)",
        "l_comment": "character varying(44)",
    },
    ("l_orderkey", "l_linenumber"),
)
SMALL = Table(
    "small", {"id": "integer", "v": "text", "n": "numeric(10,2)", "at": "timestamp with time zone"}, ("id",)
)

_MIXED_ROWS = """
insert into mixed select i, i %% 50000, i / 7.0, i / 3.0, (array['new', 'paid', 'sent'])[1 + i %% 3],
       'a note of some length, number ' || i, i %% 2 = 0, date '2024-01-01' + (i %% 700)::int,
       jsonb_build_object('n', i, 'tags', array['a', 'b']), md5(i::text)::uuid,
       timestamptz '2026-01-01' + i * interval '1 second'
  from generate_series(1, %s) i
"""
#: Rows of lineitem at scale factor 1; it varies a little with the scale.
_LINES = 6_000_000


def fill_mixed(pipeline: Pipeline, rows: int) -> None:
    _create(pipeline, MIXED, MIXED.name)
    pipeline.at_source(_MIXED_ROWS, rows)
    pipeline.at_source("vacuum analyze mixed")


def fill_lineitem(pipeline: Pipeline, rows: int, folder: Path) -> None:
    """About so many rows of lineitem, from tpchgen-cli; skips where it cannot be installed."""
    command = [others.programs() / "tpchgen-cli", "csv", "-s", f"{rows / _LINES:.9f}", "--tables", "lineitem",
               "--output-dir", folder]  # fmt: skip
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    _create(pipeline, LINEITEM, LINEITEM.name)
    with (
        psycopg.connect(pipeline.source) as session,
        session.cursor().copy(b"copy lineitem from stdin (format csv, header)") as copy,
        (folder / "lineitem.csv").open("rb") as lines,
    ):
        while block := lines.read(1 << 20):
            copy.write(block)
    (folder / "lineitem.csv").unlink()
    pipeline.at_source("vacuum analyze lineitem")


def fill_small(pipeline: Pipeline, tables: int, rows: int) -> None:
    """Tables small_0, small_1, … of so many rows each."""
    for number in range(tables):
        _create(pipeline, SMALL, f"small_{number}")
        pipeline.at_source(
            f"insert into small_{number} select i, 'value ' || i, i / 3.0, timestamptz '2026-01-01' + i * interval '1 s'"
            " from generate_series(1, %s) i",
            rows,
        )


def _create(pipeline: Pipeline, table: Table, name: str) -> None:
    pipeline.at_source(f"create table {name} ({table.ddl}, primary key ({', '.join(table.key)}))")


def described(table: Table, *names: str) -> SourceContract:
    """A contract for tables of one shape."""
    streams = [
        {
            "name": name,
            "table": f"public.{name}",
            "primary_key": list(table.key),
            "columns": {column: {"type": kind} for column, kind in table.columns.items()},
            **({"mode": "incremental", "cursor": table.cursor} if table.cursor else {"mode": "snapshot"}),
        }
        for name in names or (table.name,)
    ]
    return contract("bench", streams)
