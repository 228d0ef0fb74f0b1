"""Every type that PostgreSQL has: what is carried reads back as the same value, or the type is refused."""

# ruff: noqa: E501  # queries and values in one piece

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import psycopg
import pytest
from psycopg import sql

from include.core.connection import parse_connection
from include.core.contracts import SourceContract
from include.core.errors import TypeNotExact
from include.core.schema import Column
from include.sources import open_source
from include.sources.postgres.catalog import catalog_types
from include.sources.postgres.types import column_for

# As SQL literals; a type that is not here gets its values from `_DERIVED`.
VALUES: dict[str, list[str]] = {
    "bool": ["t", "f"],
    "bytea": ["", r"\x00ff5c27", r"\xdeadbeef"],
    "char": ["", "x", "\\001", "\\377"],
    "name": ["", "a b", "q\"uo'te", "x" * 63],
    "int8": ["-9223372036854775808", "9223372036854775807", "0"],
    "int2": ["-32768", "32767"],
    "int4": ["-2147483648", "2147483647"],
    "int2vector": ["", "1 2 3"],
    "oidvector": ["", "1 4294967295"],
    "text": ["", " ", "NULL", "\\N", "{}", "a\"b',;\t\r\n\\", "Ünïcödé 🏭 \u202e", "\x01\x7f", "e\u0301"],
    "bpchar": ["", "a  ", "  b"],
    "varchar": ["", "a  ", "NULL"],
    "oid": ["0", "4294967295"],
    "tid": ["(0,1)", "(4294967295,65535)"],
    "xid": ["3", "4294967295"],
    "xid8": ["3", "18446744073709551615"],
    "cid": ["0", "4294967295"],
    "json": ['{"a": 1.000,  "a":2}', "null", '"\\u00e9"', "[1e400]"],
    "jsonb": ['{"a": 1.000, "b": null}', "null", '"\\u00e9\\\\"', "[1e400, 0.1]", "{}"],
    "jsonpath": ['$."a"[*] ? (@ > 1)', "lax $.b"],
    "xml": ["<a>&amp;é</a>", "text <b/>"],
    "point": ["(0.1,-1e300)", "(NaN,Infinity)", "(-0,1e-320)"],
    "lseg": ["[(0.1,0.2),(0.3,1e-7)]"],
    "path": ["((0,0),(1,0.1))", "[(0,0),(1,0.1)]"],
    "box": ["(1,1),(0.1,0)"],
    "polygon": ["((0,0),(1,0.1),(0.3,4))"],
    "line": ["{1,-0.1,3.3}"],
    "circle": ["<(0.1,2),3.3>"],
    "float4": ["0.1", "NaN", "Infinity", "-Infinity", "-0", "1e-45", "3.4028235e38"],
    "float8": ["0.1", "NaN", "Infinity", "-Infinity", "-0", "5e-324", "1.7976931348623157e308"],
    "money": ["1234567.89", "-92233720368547758.08", "0.01"],
    "macaddr": ["08:00:2b:01:02:03"],
    "macaddr8": ["08:00:2b:01:02:03:04:05"],
    "inet": ["10.0.0.1", "10.0.0.1/8", "::1", "fe80::1/10", "10.0.0.0/32"],
    "cidr": ["10.0.0.0/8", "::/0", "10.0.0.1/32"],
    "aclitem": ["postgres=r/postgres"],
    "date": ["0001-01-01", "9999-12-31", "1970-01-01", "2024-02-29"],
    "time": ["00:00:00", "24:00:00", "12:34:56.000001"],
    "timetz": ["00:00:00+00", "24:00:00-15:59:59", "12:34:56.000001+05:45"],
    "timestamp": ["0001-01-01 00:00:00", "9999-12-31 23:59:59.999999", "1969-12-31 23:59:59.999999"],
    "timestamptz": ["0001-01-01 00:00:00+00", "9999-12-31 23:59:59.999999+00", "2026-03-29 02:30:00+01"],
    "interval": [
        "-1 mon +2 days -03:04:05.000006",
        "178000000 years",
        "0",
        "1 day -1 us",
        "infinity",
        "-infinity",
    ],
    "bit": ["0", "1"],
    "varbit": ["", "1010101"],
    "numeric": ["NaN", "Infinity", "-Infinity", "0.000", "1" + "0" * 200, "-0.1" + "0" * 100 + "1", "1.10"],
    "refcursor": ["<unnamed portal 1>"],
    "regproc": ["now"],
    "regprocedure": ["lower(text)"],
    "regoper": ["pg_catalog.||/"],
    "regoperator": ["+(integer,integer)"],
    "regclass": ["pg_class"],
    "regtype": ["integer[]"],
    "regrole": ["postgres"],
    "regnamespace": ["pg_catalog"],
    "regconfig": ["english"],
    "regdictionary": ["simple"],
    "regcollation": ['"C"'],
    "regdatabase": ["postgres"],
    "uuid": ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"],
    "pg_lsn": ["0/0", "FFFFFFFF/FFFFFFFF"],
    "tsvector": ["'a b':1A,2 'c''d' '\\\\':3"],
    "tsquery": ["'a b' & !c:*AB | d <2> e"],
    "txid_snapshot": ["10:20:10,14"],
    "pg_snapshot": ["10:20:10,14"],
    "int4range": ["empty", "[1,5)", "(,)", "[3,)"],
    "int8range": ["[1,9223372036854775807)"],
    "numrange": ["[1.10,2.000]", "(0,NaN)"],
    "tsrange": ['["0044-03-15 00:00:00 BC",infinity)', "[2026-01-01,2026-01-02)"],
    "tstzrange": ["[2026-01-01 00:00:00.000001+02,)"],
    "daterange": ["[-infinity,2026-01-01)"],
    "int4multirange": ["{}", "{[1,2),[5,)}"],
    "int8multirange": ["{[1,2)}"],
    "nummultirange": ["{[1.0,2.00],(3,4)}"],
    "tsmultirange": ["{[2026-01-01,2026-01-02)}"],
    "tstzmultirange": ["{[2026-01-01,infinity)}"],
    "datemultirange": ["{[2026-01-01,2026-01-05)}"],
}
#: Types that no input function reads: nobody can store a value through SQL.
UNREADABLE = {
    "pg_node_tree", "pg_ndistinct", "pg_dependencies", "pg_mcv_list", "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary", "gtsvector",
}  # fmt: skip
NASTY = """
create schema app;
create type app."Mood" as enum ('ok', 'so so', 'it''s "bad", {really}');
create type app.pair as (a numeric, b text);
create type app.floats as range (subtype = float8);
create domain app.price as numeric(10, 2) check (value >= 0);
create domain app.deep as app.price;
create domain app.purse as money;
create domain app.moods as app."Mood"[];
create domain app.short as varchar(5);
create domain app.stamp as timestamptz(3);
create domain app.tags as text[];
create domain app.day as date;
"""
NASTY_VALUES: dict[str, list[str]] = {
    'app."Mood"': ["ok", 'it\'s "bad", {really}'],
    'app."Mood"[]': ['{ok,"so so",NULL}', "{}"],
    "app.pair": ['(1.10,"a,""b"" )")', "(,)", '(NaN,"")'],
    "app.pair[]": ['{"(1,a)",NULL,"(,\\"x,y\\")"}'],
    "app.floats": ["[0.1,0.3)", "empty"],
    "app.floats[]": ['{"[0.1,0.3)"}'],
    "app.price": ["1.10", "99999999.99"],
    "app.price[]": ["{1.10,2.00}"],
    "app.deep": ["0.10"],
    "app.purse": ["1234.50"],
    "app.moods": ['{ok,"so so"}'],
    "app.short": ["a  ", ""],
    "app.stamp": ["2026-01-01 00:00:00.123456+00"],
    "app.tags": ['{a,NULL,"NULL",""}'],
    "app.day": ["2026-01-01"],
    "numeric(38,0)": ["9" * 38, "-" + "9" * 38],
    "numeric(38,38)": ["0." + "9" * 38],
    "numeric(39,2)": ["9" * 37 + ".99"],
    "numeric(3,5)": ["0.00999"],
    "numeric(3,-2)": ["99900"],
    "numeric(12,2)": ["1.10", "-9999999999.99"],
    "character(5)": ["a", ""],
    "character varying(5)": ["a   ", "é\u0301\u202e"],
    "character varying(5)[]": ["{a,NULL}"],
    "bit(3)": ["101"],
    "bit varying(9)": ["", "101"],
    "bit(3)[]": ["{101,000}"],
    "time(0) without time zone": ["12:00:01"],
    "timestamp(0) without time zone": ["2026-01-01 00:00:01"],
    "timestamp(3) with time zone": ["2026-01-01 00:00:00.123+00"],
    "interval(0)": ["1 day 00:00:01"],
    "interval day to second": ["1 day 00:00:01.5"],
    "integer[]": ["[0:1]={1,2}", "{{1,2},{3,4}}", "{}", "[-2:-1][3:3]={{1},{NULL}}"],
    "text[]": ['{"",NULL,"NULL","a,b","q\\"\\\\"}', '[5:5]={"{}"}'],
    "numeric(5,2)[]": ["{1.10,NaN}"],
    "timestamp with time zone[]": ["{infinity,2026-01-01 00:00:00+00}"],
    "date[]": ["{-infinity,0044-03-15 BC}"],
    "jsonb[]": ['{"{\\"a\\": 1.0}",NULL,"null"}'],
    "box[]": ["{(1,1),(0,0);(2,2),(0,0)}"],
    "bytea[]": ['{"\\\\x00ff",NULL}'],
}
REFUSED = {"money[]", "app.purse[]"}


@pytest.fixture(scope="module")
def types_database(postgres_server: Any) -> Iterator[str]:
    with postgres_server.database("types") as uri:
        yield uri


def _built_in(connection: psycopg.Connection[Any]) -> dict[str, list[str]]:
    """Every type that a column may have, by its name in SQL, with values in its text form."""
    rows = connection.execute(
        """select format_type(t.oid, null), t.typname, t.typtype::text, e.typname, t.typrelid::regclass::text
             from pg_type t join pg_namespace n on n.oid = t.typnamespace
             left join pg_type e on e.oid = t.typelem and t.typcategory = 'A'
             left join pg_class c on c.oid = t.typrelid
            where n.nspname in ('pg_catalog', 'information_schema') and t.typisdefined and t.typtype in ('b','r','m','e','c','d')
              and (e.oid is null or e.typtype <> 'p')
            order by t.oid"""
    ).fetchall()
    built_with = str(connection.execute("select setting from pg_config where name = 'CONFIGURE'").fetchone())
    without = (
        set() if "--with-libxml" in built_with else {"xml"}
    )  # such a server has the type, but no values of it
    found: dict[str, list[str]] = {}
    for name, plain, kind, element, _ in rows:
        if element and plain not in VALUES:
            values = [] if element in without else VALUES.get(element, [])
            found[name] = [_array(connection, name, values)] if values else []
        else:
            found[name] = [] if plain in without else VALUES.get(plain, [])
        if kind == "b" and not element and plain not in UNREADABLE | without:
            assert found[name], f"no values for the type {name}: add some to this test"
    return found


def _array(connection: psycopg.Connection[Any], name: str, values: list[str]) -> str:
    element = name.removesuffix("[]")
    row = connection.execute(
        f"select array(select v::{element} from unnest(%s::text[]) v union all select null)::text", (values,)
    ).fetchone()
    assert row is not None
    return str(row[0])


def _contract(columns: dict[str, str]) -> SourceContract:
    """One stream for each type: table `t<n>` with the columns id and v."""
    return SourceContract.model_validate(
        {
            "source": "types",
            "kind": "postgres",
            "connection": "types",
            "description": "every type",
            "owner": {"team": "t", "contact": "c"},
            "schedule": {"cron": "@daily", "start": date(2026, 1, 1)},
            "deadline": {"after_queueing": "1h"},
            "keeps": "forever",
            "errors_tolerated": 0,
            "lateness": "0s",
            "upstreams": [],
            "streams": [
                {
                    "name": table,
                    "table": f"types.{table}",
                    "mode": "snapshot",
                    "columns": {"id": {"type": "integer"}, "v": {"type": declared}},
                }
                for table, declared in columns.items()
            ],
        }
    )


def _carried(uri: str, contract: SourceContract) -> Iterator[tuple[str, Column, dict[int, Any]]]:
    source = open_source(contract, parse_connection("types", uri))
    with source.snapshot(list(contract.streams)) as picture:
        for stream in contract.streams:
            values: dict[int, Any] = {}
            for batch in picture.rows(stream):
                values |= dict(zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True))
            yield stream.name, picture.schemas[stream.name].column("v"), values


def test_every_type_comes_back_as_the_same_value_or_is_refused(types_database: str) -> None:
    faults: list[str] = []
    with psycopg.connect(types_database, autocommit=True) as admin:
        admin.execute("create schema if not exists types")
        admin.execute(NASTY)  # type: ignore[arg-type]
        admin.execute("set search_path = pg_catalog; set timezone = 'UTC'")
        types = _built_in(admin) | NASTY_VALUES
        types["money[]"], types["app.purse[]"] = ["{$1.00}"], ["{$1.00}"]
        tables: dict[str, str] = {}
        refused = set()
        for number, (declared, values) in enumerate(types.items()):
            table = f"t{number}"
            try:
                admin.execute(f"create table types.{table} (id int primary key, v {declared})")  # type: ignore[arg-type]
            except psycopg.errors.InvalidTableDefinition:
                assert declared.startswith("pg_")  # the row type of a catalog with a pseudo-type in it
                continue
            for place, value in enumerate([*values, None]):
                admin.execute(
                    sql.SQL("insert into types.{} select %s, %s::text::{}").format(
                        sql.Identifier(table),
                        sql.SQL(declared),  # type: ignore[arg-type]
                    ),
                    (place, value),
                )
            oid = admin.execute("select %s::regclass::oid", (f"types.{table}",)).fetchone()[0]  # type: ignore[index]
            found = catalog_types(admin, oid)[1]
            try:
                column_for(found, where="test")
            except TypeNotExact:
                refused.add(declared)
            else:
                tables[table] = found.declared
        assert refused == REFUSED
        assert len(tables) > 250
        for table, column, carried in _carried(types_database, _contract(tables)):
            faults += _differences(admin, table, column, carried)
    assert not faults, "\n".join(faults)


def _differences(
    admin: psycopg.Connection[Any], table: str, column: Column, carried: dict[int, Any]
) -> Iterator[str]:
    """Store what was carried in a column of the raw type, and compare images (where the type is the same) and texts."""
    same_type = column.source_type == column.raw_type
    image = "record_image_eq(row(t.v), row(p.w))" if same_type else "true"
    text = (
        "t.v::numeric::text"
        if "money" in column.source_type or column.source_type == "app.purse"
        else "t.v::text"
    )
    for place, value in carried.items():
        row = admin.execute(
            f"""select {image} and ({text} is not distinct from p.w::text), t.v::text, p.w::text
                  from types.{table} t, (select %s::{column.raw_type} as w) p where id = %s""",  # type: ignore[arg-type]
            (value, place),
        ).fetchone()
        assert row is not None
        if not row[0]:
            yield f"{column.source_type} → {column.carrier} → {column.raw_type}: {row[1]!r} became {row[2]!r}"
    there = admin.execute(f"select count(*) from types.{table}").fetchone()  # type: ignore[arg-type]
    if there != (len(carried),):
        yield f"{column.source_type}: {there} rows, {len(carried)} carried"


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        ("date", "infinity"),
        ("date", "-infinity"),
        ("date", "0044-03-15 BC"),
        ("date", "10000-01-01"),
        ("date", "5874897-12-31"),
        ("date", "4713-11-24 BC"),
        ("timestamp", "infinity"),
        ("timestamp", "-infinity"),
        ("timestamp", "0001-12-31 23:59:59 BC"),
        ("timestamp", "10000-01-01"),
        ("timestamp", "294276-12-31 23:59:59.999999"),
        ("timestamp", "4713-11-24 00:00:00 BC"),
        ("timestamptz", "infinity"),
        ("timestamptz", "-infinity"),
        ("timestamptz", "0044-03-15 00:00:00 BC"),
        ("timestamptz", "294276-12-31 23:59:59.999999+00"),
        ("numeric(12,2)", "NaN"),
        ("numeric(38,38)", "NaN"),
    ],
)
def test_a_value_beyond_its_carrier_is_refused_and_carried_as_text_when_asked(
    types_database: str, declared: str, value: str
) -> None:
    uri = types_database
    with psycopg.connect(uri, autocommit=True) as admin:
        admin.execute("create schema if not exists types")
        admin.execute("drop table if exists types.t")
        admin.execute(f"create table types.t (id int primary key, v {declared})")  # type: ignore[arg-type]
        admin.execute(f"insert into types.t values (1, null), (2, '{value}')")  # type: ignore[arg-type]
        kind = admin.execute(
            "select format_type(atttypid, atttypmod) from pg_attribute"
            " where attrelid = 'types.t'::regclass and attname = 'v'"
        ).fetchone()[0]  # type: ignore[index]
    contract = _contract({"t": kind})
    with pytest.raises(TypeNotExact, match=r"(?s)column 'v' .*carry: text") as caught:
        list(_carried(uri, contract))
    assert "source 'types', stream 't'" in str(caught.value)
    stream = contract.streams[0]
    rule = stream.columns["v"].model_copy(update={"carry": "text"})
    stream = stream.model_copy(update={"columns": {**stream.columns, "v": rule}})
    ((_, column, carried),) = _carried(uri, contract.model_copy(update={"streams": (stream,)}))
    with psycopg.connect(uri, autocommit=True) as admin:
        same = admin.execute(
            f"select (v *= w) from (select row(v) v from types.t where id = 2) x,"  # type: ignore[arg-type]
            f" (select row(%s::{column.raw_type}) w) y",
            (carried[2],),
        ).fetchone()
    assert carried[1] is None
    assert same == (True,)


def test_text_that_a_database_without_encoding_never_checked_is_refused(postgres_server: Any) -> None:
    with psycopg.connect(postgres_server.conninfo(), autocommit=True) as server:
        server.execute("drop database if exists test_sql_ascii with (force)")
        server.execute(
            "create database test_sql_ascii encoding 'SQL_ASCII' locale 'C' locale_provider libc template template0"
        )
    uri = postgres_server.conninfo("test_sql_ascii")
    with psycopg.connect(uri, autocommit=True) as admin:
        admin.execute("create schema types")
        admin.execute("create table types.t (id int, v text)")
        admin.execute("insert into types.t values (1, 'plain'), (2, convert_from('\\xc3a9', 'SQL_ASCII'))")
        assert next(_carried(uri, _contract({"t": "text"})))[2] == {1: "plain", 2: "é"}
        admin.execute("insert into types.t values (3, convert_from('\\xe9', 'SQL_ASCII'))")
    with pytest.raises(TypeNotExact, match="text in UTF-8"):
        list(_carried(uri, _contract({"t": "text"})))
