"""What respects no snapshot must not look like deleted rows: it is noticed, and the read tried again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timezone
from typing import Any

import psycopg
import pytest

from include.core.connection import parse_connection
from include.core.contracts import SourceContract
from include.core.errors import TransientError, TypeNotExact
from include.sources import open_source

SCHEMA = """
create schema app;
create table app.plain (id int primary key);
create table app.parts (id int) partition by range (id);
create table app.parts_1 partition of app.parts for values from (0) to (100);
create table app.parts_2 partition of app.parts for values from (100) to (200);
insert into app.plain select generate_series(0, 9);
insert into app.parts select generate_series(50, 149);
"""


def _contract() -> SourceContract:
    return SourceContract.model_validate(
        {
            "source": "app",
            "kind": "postgres",
            "connection": "app",
            "description": "two tables",
            "owner": {"team": "t", "contact": "c"},
            "schedule": {"cron": "@daily", "start": date(2026, 1, 1)},
            "deadline": {"after_queueing": "1h"},
            "keeps": "forever",
            "errors_tolerated": 0,
            "lateness": "0s",
            "upstreams": [],
            "streams": [
                {
                    "name": name,
                    "table": f"app.{name}",
                    "mode": "snapshot",
                    "columns": {"id": {"type": "integer"}},
                }
                for name in ("plain", "parts")
            ],
        }
    )


def _rows(picture: Any, contract: SourceContract, name: str) -> int:
    return sum(batch.num_rows for batch in picture.rows(contract.stream(name)))


@pytest.mark.parametrize(
    ("stream", "statement"),
    [
        ("plain", "truncate app.plain"),
        ("plain", "alter table app.plain alter id type bigint using id + 1"),
        ("plain", "alter table app.plain rename to old; create table app.plain (id int)"),
        ("parts", "truncate app.parts_2"),
        ("parts", "alter table app.parts detach partition app.parts_1"),
        ("parts", "drop table app.parts_2"),
    ],
)
def test_a_table_replaced_during_a_read_is_noticed(
    database: Callable[..., str], stream: str, statement: str
) -> None:
    uri, contract = database(), _contract()
    with psycopg.connect(uri, autocommit=True) as admin:
        admin.execute(SCHEMA)  # type: ignore[arg-type]
        source = open_source(contract, parse_connection("app", uri))
        with source.snapshot(list(contract.streams)) as picture:
            assert _rows(picture, contract, "plain") == 10
            assert _rows(picture, contract, "parts") == 100
        with source.snapshot(list(contract.streams)) as picture:
            admin.execute(statement)  # type: ignore[arg-type]
            with pytest.raises(
                TransientError, match=f"{stream}.*truncated, rewritten or replaced|what to do"
            ):
                _rows(picture, contract, stream)


def test_ordinary_writes_during_a_read_are_not_seen_and_do_no_harm(database: Callable[..., str]) -> None:
    uri, contract = database(), _contract()
    with psycopg.connect(uri, autocommit=True) as admin:
        admin.execute(SCHEMA)  # type: ignore[arg-type]
        source = open_source(contract, parse_connection("app", uri))
        with source.snapshot(list(contract.streams)) as picture:
            admin.execute("delete from app.plain; insert into app.parts values (199)")
            assert _rows(picture, contract, "plain") == 10
            assert _rows(picture, contract, "parts") == 100


def test_a_connection_that_ends_in_the_middle_of_a_result_is_a_transient_error(
    database: Callable[..., str],
) -> None:
    uri, contract = database(), _contract()
    with psycopg.connect(uri, autocommit=True) as admin:
        admin.execute(SCHEMA)  # type: ignore[arg-type]
        admin.execute("insert into app.plain select generate_series(10, 3000000)")
        source = open_source(contract, parse_connection("app", uri))
        with source.snapshot(list(contract.streams)) as picture:
            batches = picture.rows(contract.stream("plain"))
            next(batches)
            admin.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid() and query ilike '%copy%'"
            )
            with pytest.raises(TransientError):
                list(batches)


@pytest.mark.parametrize("stamp", ["infinity", "-infinity"])
def test_an_infinite_cursor_is_refused_and_not_passed_over(database: Callable[..., str], stamp: str) -> None:
    uri, first, second = (
        database(),
        datetime(2026, 1, 1, tzinfo=timezone.utc),
        datetime(2026, 2, 1, tzinfo=timezone.utc),
    )
    columns = {"id": {"type": "integer"}, "at": {"type": "timestamp with time zone"}}
    stream = {"name": "s", "table": "app.s", "mode": "incremental", "cursor": "at", "primary_key": ["id"]}
    contract = SourceContract.model_validate(
        {**_contract().model_dump(), "streams": [{**stream, "columns": columns}]}
    )
    with psycopg.connect(uri, autocommit=True) as admin:
        admin.execute("create schema app; create table app.s (id int primary key, at timestamptz)")
        admin.execute(
            "insert into app.s values (1, '2026-01-01'), (2, '2026-02-01'), (3, null), (4, '2025-12-31')"
        )
        source = open_source(contract, parse_connection("app", uri))
        with source.snapshot(list(contract.streams)) as picture:
            read = [
                row
                for batch in picture.rows(contract.streams[0], first, second)
                for row in batch[0].to_pylist()
            ]
            assert sorted(read) == [1, 3]
        admin.execute("insert into app.s values (5, %s)", (stamp,))
        with (
            source.snapshot(list(contract.streams)) as picture,
            pytest.raises(TypeNotExact, match="column 'at'"),
        ):
            list(picture.rows(contract.streams[0], first, second))
