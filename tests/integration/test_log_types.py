"""A value lands as the same by the log as by a read of its table, whatever its type."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import sql

from include.core.connection import parse_connection
from include.core.contracts import SourceContract
from include.core.errors import ContractError, TypeNotExact
from include.core.manifest import LogMark
from include.sources import open_source
from include.sources.log import open_slot
from tests.integration.test_postgres_types import NASTY, NASTY_VALUES, REFUSED, _built_in, _contract

#: Their text depends on the server's locale, and the log has nothing else.
UNTOLD = {"money", "app.purse"}


@pytest.fixture
def uri(database: Any) -> str:
    return str(database("types"))


def logged(columns: dict[str, str], carry: str | None) -> SourceContract:
    found = _contract(columns)
    streams = []
    for stream in found.streams:
        rule = stream.columns["v"].model_copy(update={"carry": carry})
        update = {"mode": "log", "primary_key": ("id",), "columns": {**stream.columns, "v": rule}}
        streams.append(stream.model_copy(update=update))
    return found.model_copy(update={"streams": tuple(streams)})


def marks(uri: str, source: SourceContract) -> dict[str, LogMark]:
    """Where the log of all streams stands now."""
    with open_source(source, parse_connection("types", uri)).snapshot(list(source.streams)) as now:
        assert now.log is not None
        assert list(now.log.changes({})) == []
        return {stream.name: now.log.mark(stream) for stream in source.streams}


def both(
    uri: str, source: SourceContract, since: dict[str, LogMark], tables: bool = True
) -> tuple[dict[str, Any], dict[str, Any]]:
    """By stream and key, what a read of the tables hands out, if wanted, and what the log has told since then."""
    read: dict[str, Any] = {}
    told: dict[str, Any] = {}
    with open_source(source, parse_connection("types", uri)).snapshot(list(source.streams)) as now:
        assert now.log is not None
        for stream in source.streams if tables else ():
            for batch in now.rows(stream):
                for row in batch.to_pylist():
                    read[f"{stream.name} {row['id']}"] = repr(row["v"])
        for name, batch in now.log.changes(since):
            for row in batch.to_pylist():
                assert row["_op"] == "i" and row["_unchanged"] == "{}"
                told[f"{name} {row['id']}"] = repr(row["v"])
    return read, told


def test_every_type_is_told_as_it_is_read(uri: str) -> None:
    with psycopg.connect(uri, autocommit=True) as admin:
        admin.execute("create schema types")
        admin.execute(NASTY)  # type: ignore[arg-type]
        admin.execute("set search_path = pg_catalog; set timezone = 'UTC'")
        types = {
            name: values for name, values in (_built_in(admin) | NASTY_VALUES).items() if name not in REFUSED
        }
        tables, declared = {}, {}
        for number, name in enumerate(types):
            try:
                admin.execute(f"create table types.t{number} (id int primary key, v {name})")  # type: ignore[arg-type]
            except psycopg.errors.InvalidTableDefinition:
                continue
            row = admin.execute(
                "select format_type(atttypid, atttypmod) from pg_attribute where attrelid = %s::regclass and attname = 'v'",
                (f"types.t{number}",),
            ).fetchone()
            assert row is not None
            tables[f"t{number}"], declared[f"t{number}"] = name, row[0]
        slot = open_slot(logged(declared, None), parse_connection("types", uri))
        slot.create()
        untold = {table.stream for table in slot.tables() if table.faults}
        assert {tables[table] for table in untold} == UNTOLD
        told = {table: kind for table, kind in declared.items() if table not in untold}
        assert len(told) > 250
        before = {carry: marks(uri, logged(told, carry)) for carry in (None, "text")}
        count = 0
        for table in told:
            for place, value in enumerate([*types[tables[table]], None]):
                count += 1
                admin.execute(
                    sql.SQL("insert into types.{} select %s, %s::text::{}").format(
                        sql.Identifier(table),
                        sql.SQL(tables[table]),  # type: ignore[arg-type]
                    ),
                    (place, value),
                )
    for carry, since in before.items():
        read, by_log = both(uri, logged(told, carry), since)
        assert len(read) == count
        assert read == by_log


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        ("date", "infinity"),
        ("date", "0044-03-15 BC"),
        ("date", "10000-01-01"),
        ("timestamp without time zone", "-infinity"),
        ("timestamp with time zone", "294276-12-31 23:59:59.999999+00"),
        ("timestamp with time zone", "0044-03-15 00:00:00 BC"),
        ("numeric(12,2)", "NaN"),
    ],
)
def test_a_value_beyond_its_carrier_is_refused_by_the_log_too(uri: str, declared: str, value: str) -> None:
    source = logged({"t": declared}, None)
    with psycopg.connect(uri, autocommit=True) as admin:
        admin.execute("create schema types")
        admin.execute(f"create table types.t (id int primary key, v {declared})")  # type: ignore[arg-type]
        open_slot(source, parse_connection("types", uri)).create()
        since, as_text = marks(uri, source), marks(uri, logged({"t": declared}, "text"))
        admin.execute(f"insert into types.t values (1, '{value}')")  # type: ignore[arg-type]
    with pytest.raises(TypeNotExact, match=r"(?s)column 'v' .*carry: text") as caught:
        both(uri, source, since, tables=False)
    assert value not in str(caught.value)
    read, told = both(uri, logged({"t": declared}, "text"), as_text)
    assert read == told and len(told) == 1


def test_a_partitioned_table_is_refused_by_name(uri: str) -> None:
    source = logged({"t": "integer"}, None)
    with psycopg.connect(uri, autocommit=True) as admin:
        admin.execute("create schema types")
        admin.execute("create table types.t (id int primary key, v int) partition by range (id)")
        open_slot(source, parse_connection("types", uri)).create()
    with (
        pytest.raises(ContractError, match=r"types.t is a table of another kind"),
        open_source(source, parse_connection("types", uri)).snapshot(list(source.streams)),
    ):
        pass
