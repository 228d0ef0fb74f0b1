"""Figures of a table: exact where it is small, of any type and name, cheap and harmless where it is big or wide."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import psycopg
import pytest

from include.core.control import Figure
from include.warehouse import profile as profiles
from include.warehouse.profile import profile
from tests.support.pipeline import Pipeline

AT = datetime(2026, 6, 17, tzinfo=timezone.utc)


@pytest.fixture
def session(pipeline: Pipeline) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(pipeline.warehouse, autocommit=True) as session:
        session.execute("set timezone = 'UTC'")
        yield session


def by_name(figures: list[Figure]) -> dict[tuple[str, str], float]:
    return {(figure.metric, figure.column): figure.value for figure in figures}


def test_figures_are_what_one_would_count_by_hand(session: psycopg.Connection[Any]) -> None:
    session.execute(
        "create table public.t (n int, d numeric, f float8, t text, b boolean, at timestamptz, day date, j json)"
    )
    session.execute(
        "insert into public.t select i, i, case i when 7 then null else i end, repeat('x', i), i <= 25, %s, '2026-06-16',"
        " '{}' from generate_series(1, 100) i",
        (datetime(2026, 6, 16, 23, tzinfo=timezone.utc),),
    )
    found = by_name(profile(session, "public", "t", AT))
    assert found["rows", ""] == 100
    assert (found["nulls", "f"], found["nulls", "n"]) == (0.01, 0)
    assert (found["distinct", "n"], found["distinct", "j"], found["distinct", "b"]) == (100, 1, 2)
    assert found["mean", "n"] == found["mean", "d"] == found["mean", "t"] == 50.5
    assert (found["p05", "n"], found["p50", "n"], found["p95", "n"]) == pytest.approx((5.95, 50.5, 95.05))
    assert found["typical", "n"] == pytest.approx(50.5)
    assert found["true", "b"] == 0.25
    assert (found["mean", "at"], found["mean", "day"]) == (3600, 86400)
    assert ("mean", "j") not in found


def test_what_stands_at_the_edge_moves_the_mean_and_not_what_is_typical(
    session: psycopg.Connection[Any],
) -> None:
    session.execute(
        "create table public.t as select case i when 1 then 1e9 else i end as n from generate_series(1, 100) i"
    )
    found = by_name(profile(session, "public", "t", AT))
    assert found["mean", "n"] > 1e6
    assert 45 < found["typical", "n"] < 55


def test_no_type_and_no_name_breaks_it(session: psycopg.Connection[Any]) -> None:
    session.execute(
        "create domain public.amount as numeric(10,2); create type public.mood as enum ('ok', 'bad')"
    )
    types = {
        'a "quoted" name': "public.amount", "it's 100% {x} %(y)s": "public.mood", "select": "json", "p": "point",
        "r": "int4range", "v": "tsvector", "arr": "int[]", "c": "char(5)", "bits": "bit(3)", "bytes": "bytea", "m": "money",
        "i": "interval", "big": "numeric", "inf": "float8", "never": "timestamptz", "day": "date", "none": "int",
        "u": "uuid",
    }  # fmt: skip
    quoted = ", ".join(f'"{name.replace(chr(34), chr(34) * 2)}" {kind}' for name, kind in types.items())
    session.execute(f"create table public.odd ({quoted})".encode())
    row = (
        "1.5", "ok", "{}", "(1,2)", "[1,5)", "a b", "{1,2}", "abc", "101", "\\x00", "1", "1 day", "1" + "0" * 400,
        "Infinity", "infinity", "-infinity", None, "00000000-0000-0000-0000-000000000000",
    )  # fmt: skip
    other = ("2.5", "bad", *row[2:12], "NaN", "NaN", "2026-06-16", "0044-03-15 BC", *row[16:])
    for one in (row, other):
        session.execute(f"insert into public.odd values ({', '.join(['%s'] * len(types))})".encode(), one)
    found = by_name(profile(session, "public", "odd", AT))
    assert {column for metric, column in found if metric == "nulls"} == set(types)
    assert found["mean", 'a "quoted" name'] == 2
    assert found["nulls", "none"] == 1
    assert ("mean", "inf") not in found  # nothing finite
    assert found["mean", "never"] == 86400


def test_an_output_that_fails_costs_figures_and_not_the_batch(
    session: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture
) -> None:
    session.execute(
        "create type public.odd as (a int); create function public.no(public.odd) returns text language plpgsql as"
        " $$ begin raise division_by_zero; end $$; create cast (public.odd as text) with function public.no(public.odd);"
        "create table public.whole as select row(1)::public.odd as o"
    )
    assert by_name(profile(session, "public", "whole", AT)) == {("rows", ""): 1}
    assert "no figures of" in caplog.text


def test_personal_columns_leave_no_value(session: psycopg.Connection[Any]) -> None:
    session.execute("create table public.t as select i as id, i * 7 as salary from generate_series(1, 10) i")
    figures = profile(session, "public", "t", AT, personal=frozenset({"salary"}), keys=frozenset({"id"}))
    assert {figure.metric for figure in figures if figure.column} == {"nulls", "distinct"}


def test_a_table_of_a_thousand_columns(session: psycopg.Connection[Any]) -> None:
    columns = ", ".join(f"i % {number} as c{number}" for number in range(1, 1201))
    session.execute(f"create table public.wide as select {columns} from generate_series(1, 50) i".encode())
    found = by_name(profile(session, "public", "wide", AT))
    assert found["distinct", "c1"] == 1
    assert found["distinct", "c1200"] == 50


def test_of_a_big_table_a_sample_is_looked_at(
    session: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiles, "SAMPLE", 6000)
    session.execute(
        "create table public.big as select i, nullif(i % 4, 0) as n from generate_series(1, 60000) i"
    )
    figures = profile(session, "public", "big", AT)
    found = by_name(figures)
    assert found["rows", ""] == 60000
    assert {3000 < figure.sample < 9000 for figure in figures if figure.metric == "nulls"} == {True}
    assert 0.2 < found["nulls", "n"] < 0.3
    assert figures == profile(session, "public", "big", AT)  # the same rows each time
    session.execute("truncate public.big")
    assert profile(session, "public", "big", AT) == [Figure("rows", "", 0, 0)]
