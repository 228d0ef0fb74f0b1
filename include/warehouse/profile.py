"""Figures of a table: rows, and of each column the share of nulls (NaN is one), distinct values,
mean and quantiles, in one statement.

A big table is looked at in a sample of its rows, so that this costs a share of having written it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import psycopg

from include.core.control import Figure
from include.core.quoting import identifier

log = logging.getLogger("millrace.warehouse")

#: Rows that are looked at; of a table with more, about so many, in whole pages.
SAMPLE = 20_000
#: Columns in a statement: PostgreSQL takes no more than 1,664 results.
_AT_ONCE = 100
#: Beyond these, sums of squares overflow; they are infinite for us, and left out.
_FINITE = "between -1e140 and 1e140"
_QUANTILES = {"p05": 0.05, "p50": 0.5, "p95": 0.95}
#: Of a normal distribution: by how much a quantile varies more than the mean.
_ROUGHER = {"p05": 2.11, "p50": 1.25, "p95": 2.11}
_NUMBERS = "{int2,int4,int8}"
_TIMES = "{date,timestamp,timestamptz}"
_COLUMNS = f"""
select a.attname, case when coalesce(b.typname, t.typname) = any('{_NUMBERS}') then 'number'
                       when coalesce(b.typname, t.typname) = 'numeric' then 'decimal'
                       when coalesce(b.typname, t.typname) in ('float4', 'float8') then 'float'
                       when coalesce(b.typname, t.typname) = any('{_TIMES}') then 'time'
                       when coalesce(b.typname, t.typname) = 'bool' then 'flag'
                       when coalesce(b.typcategory, t.typcategory) = 'S' then 'text'
                       else 'other' end
  from pg_attribute a join pg_type t on t.oid = a.atttypid left join pg_type b on b.oid = t.typbasetype
 where a.attrelid = %s::regclass and a.attnum > 0 and not a.attisdropped
 order by a.attnum
"""


def profile(
    session: psycopg.Connection[Any],
    schema: str,
    table: str,
    at: datetime,
    *,
    personal: frozenset[str] = frozenset(),
    keys: frozenset[str] = frozenset(),
    rows: int | None = None,
) -> list[Figure]:
    """The figures of a table.

    :param at: the ages of times are taken from here. :param personal: columns of which only nulls and distinct values are
        counted; the figures of others hold values of rows, such as quantiles. :param keys: columns whose values are names
        of things and no amounts: the same is counted of them. :param rows: how many it has, where that is known.
    """
    relation = identifier(schema, table)
    if rows is None:
        (rows,) = session.execute(f"select count(*) from {relation}".encode()).fetchone() or (0,)
    figures = [Figure("rows", "", rows, rows)]
    if not rows:
        return figures
    # The same rows each time that the same table is looked at.
    share = "" if rows <= SAMPLE else f" tablesample system ({100 * SAMPLE / rows}) repeatable (1)"
    columns = [
        (name, "other" if name in personal | keys else kind)
        for name, kind in session.execute(_COLUMNS.encode(), (relation,)).fetchall()
    ]
    for start in range(0, len(columns), _AT_ONCE):
        some = columns[start : start + _AT_ONCE]
        try:
            found = session.execute(_statement(relation + share, some, at).encode()).fetchone()
        except (psycopg.DataError, psycopg.ProgrammingError) as error:
            # A type of somebody's own whose output fails: figures of a batch are not worth the batch.
            names = ", ".join(name for name, _ in some)
            log.warning("no figures of %s, columns %s: %s", relation, names, error.diag.message_primary)
            continue
        figures.extend(_figures(some, list(found or ())))
    return figures


def _statement(relation: str, columns: Sequence[tuple[str, str]], at: datetime) -> str:
    inner, edges, outer = [], [], ["count(*)"]
    for number, (name, kind) in enumerate(columns):
        column = identifier(name)
        nothing = f"{column} is null" + (f" or {column} = 'NaN'" if kind in ("float", "decimal") else "")
        inner.append(f"({nothing}) as n{number}, hashtextextended({column}::text, 0) as h{number}")
        outer.append(f"count(*) filter (where n{number}), count(distinct h{number})")
        value = _value(column, kind, at)
        if value is None:
            continue
        inner.append(f"case when {value} {_FINITE} then {value} end as x{number}")
        if kind == "flag":
            outer.append(f"avg(x{number})")
            continue
        wanted = ", ".join(map(str, _QUANTILES.values()))
        edges.append(f"percentile_cont(array[{wanted}]) within group (order by x{number}) as q{number}")
        # least() and greatest() pass over nulls
        inside = (
            f"case when x{number} is not null then least(greatest(x{number}, q{number}[1]), q{number}[3]) end"
        )
        outer.append(
            f"count(x{number}), avg(x{number}), stddev_samp(x{number}), avg({inside}), stddev_samp({inside}),"
            f" (select q{number} from q)"
        )
    seen = f"with s as materialized (select {', '.join(inner)} from {relation})"
    if not edges:
        return f"{seen} select {', '.join(outer)} from s"
    return f"{seen}, q as materialized (select {', '.join(edges)} from s) select {', '.join(outer)} from s cross join q"


def _value(column: str, kind: str, at: datetime) -> str | None:
    """What is measured of a column, as SQL of type float8; None when only its values are counted."""
    if kind == "decimal":  # it reaches further than float8
        return f"case when {column} {_FINITE} then {column}::float8 end"
    if kind == "time":
        return f"({at.timestamp()!r} - extract(epoch from {column})::float8)"
    others = {
        "number": f"{column}::float8",
        "float": f"{column}::float8",
        "text": f"length({column}::text)::float8",
        "flag": f"{column}::boolean::int::float8",
    }
    return others.get(kind)


def _figures(columns: Sequence[tuple[str, str]], found: list[Any]) -> Iterator[Figure]:
    rows = int(found.pop(0))
    for name, kind in columns:
        nulls, distinct = found.pop(0), found.pop(0)
        yield Figure("nulls", name, nulls / rows if rows else 0.0, rows)
        yield Figure("distinct", name, distinct, rows)
        if kind == "other":
            continue
        if kind == "flag":
            share = found.pop(0)
            if share is not None:
                yield Figure("true", name, share, rows - nulls)
            continue
        known, mean, spread, typical, narrow, quantiles = (found.pop(0) for _ in range(6))
        if not known:
            continue
        unit = {"time": "seconds", "text": "characters"}.get(kind, "")
        spread, narrow = (0.0 if one is None or math.isnan(one) else one for one in (spread, narrow))
        yield Figure("mean", name, mean, known, spread, unit)
        yield Figure("typical", name, typical, known, narrow / 0.9, unit)  # Tukey and McLaughlin 1963
        for (metric, rougher), value in zip(_ROUGHER.items(), quantiles, strict=True):
            yield Figure(metric, name, value, known, rougher * spread, unit)


def shape(session: psycopg.Connection[Any], schema: str, table: str) -> dict[str, str] | None:
    """The columns of a table or view with their types, in order; None when there is none."""
    found = session.execute(
        "select a.attname, format_type(a.atttypid, a.atttypmod) from pg_attribute a"
        " where a.attrelid = to_regclass(%s) and a.attnum > 0 and not a.attisdropped order by a.attnum",
        (identifier(schema, table),),
    ).fetchall()
    return dict(found) or None
