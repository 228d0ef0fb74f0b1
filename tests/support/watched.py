"""A shop whose data is watched: ordinary days of it, and their figures as history."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg

from include.core.contracts import SourceContract
from include.core.contracts.watch import Watch
from include.core.control import Figure
from include.core.interval import Interval
from include.flows import watch
from include.quality.gate import Failure
from include.warehouse import metrics
from include.warehouse.profile import profile
from tests.support.pipeline import Pipeline, contract

#: The end of the interval that the batch under test speaks of: a Wednesday in the middle of a month.
TODAY = datetime(2026, 6, 17, tzinfo=timezone.utc)
DAY = timedelta(days=1)
CUSTOMERS = 200
KEYS = frozenset({"id", "customer"})
ORDERS: dict[str, Any] = {
    "name": "orders",
    "table": "public.orders",
    "primary_key": ["id"],
    "mode": "incremental",
    "cursor": "updated_at",
    "references": [{"columns": ["customer"], "stream": "customers"}],
    "columns": {
        "id": {"type": "bigint"},
        "customer": {"type": "integer", "not_null": True},
        "total": {"type": "numeric(12,2)", "min": 0},
        "weight": {"type": "double precision"},
        "quantity": {"type": "integer"},
        "status": {"type": "text"},
        "currency": {"type": "text", "pattern": "^[A-Z]{3}$"},
        "country": {"type": "text"},
        "note": {"type": "text"},
        "paid": {"type": "boolean"},
        "placed_at": {"type": "timestamp with time zone"},
        "updated_at": {"type": "timestamp with time zone", "not_null": True},
    },
}
PEOPLE: dict[str, Any] = {
    "name": "customers",
    "table": "public.customers",
    "primary_key": ["id"],
    "mode": "snapshot",
    "deletes": "snapshot",
    "columns": {
        "id": {"type": "integer"},
        "email": {"type": "text", "pii": "email"},
        "city": {"type": "text"},
    },
}
COLUMNS = ", ".join(ORDERS["columns"])
_TABLE = "({})".format(", ".join(f"{name} {rule['type']}" for name, rule in ORDERS["columns"].items()))
#: An ordinary day: amounts with a long tail, and orders that were placed some hours before they were last changed.
_ROWS = f"""
select extract(epoch from %(day)s)::bigint / 86400 * 100000 + i, 1 + floor(random() * {CUSTOMERS})::int,
       exp(random_normal(3, 0.8))::numeric(12,2), exp(random_normal(6, 0.5)), 1 + floor(random() * 5)::int,
       (array['new', 'paid', 'sent'])[1 + floor(random() * 3)::int], case when random() < 0.9 then 'EUR' else 'USD' end,
       (array['DE', 'FR', 'IT', 'ES', 'AT', 'NL', 'BE', 'PL'])[1 + floor(random() * 8)::int],
       case when random() < 0.9 then repeat('größer ', 2 + floor(random() * 8)::int) end, random() < 0.6,
       stamp - random() * interval '2 hours', stamp
  from (select i, %(day)s - interval '1 day' + random() * interval '1 day' as stamp from generate_series(1, %(rows)s) i) as n
"""


def shop_contract(**fields: Any) -> SourceContract:
    """The contract of the shop; `orders` and `customers` change fields of these streams."""
    orders, people = fields.pop("orders", {}), fields.pop("customers", {})
    columns = {**ORDERS["columns"], **orders.get("columns", {})}
    return contract("shop", [PEOPLE | people, ORDERS | orders | {"columns": columns}], **fields)


def rows_of(day: datetime, noise: float) -> int:
    """How many orders an ordinary day has. :param noise: of a normal distribution."""
    level = {6: 0.4, 0: 0.35}.get(
        day.weekday(), 1.0
    )  # the batch of a Sunday night holds a Saturday or a Sunday
    if (day + DAY).day == 1:
        level *= 1.6
    elif day.day == 1:
        level *= 1.3
    return round(400 * level * 1.08**noise)


def fill(session: psycopg.Connection[Any], table: str, day: datetime, rows: int) -> None:
    """Add the orders of the day that ends at `day`."""
    session.execute(f"insert into {table} {_ROWS}".encode(), {"day": day, "rows": rows})


def ordinary_day(session: psycopg.Connection[Any], day: datetime, rows: int, **options: Any) -> list[Failure]:
    """A day as its load would have left it in the ledger, judged by the figures of the days before."""
    session.execute("drop table if exists public.batch")
    session.execute(f"create unlogged table public.batch {_TABLE}".encode())
    fill(session, "public.batch", day, rows)
    figures = profile(session, "public", "batch", day, keys=KEYS)
    figures += [
        Figure("bytes", "", rows * 60, rows),
        Figure("seconds", "", 0.4, rows, unit="seconds"),
        Figure("lag", "", 200, rows, unit="seconds"),
        Figure("interval", "", 86400, rows, unit="seconds"),
    ]
    return past_load(session, "orders", day, figures, **options)


def past_load(
    session: psycopg.Connection[Any], stream: str, day: datetime, figures: list[Figure], **options: Any
) -> list[Failure]:
    """Figures of a load of the past that was published."""
    (load_id,) = session.execute(
        "insert into ledger.load (source, run_id, kind, interval_end, status)"
        " values ('shop', %s, 'regular', %s, 'published') returning load_id",
        (f"{stream} {day:%Y-%m-%d}", day),
    ).fetchone() or (0,)
    session.execute(
        "insert into ledger.load_stream (load_id, stream, mode, status, schema_fingerprint, extracted, landed, bytes, parts,"
        " seconds) values (%s, %s, 'incremental', 'published', '', 0, 0, 0, 0, 0)",
        (load_id, stream),
    )
    about = metrics.Run(f"raw_shop.{stream}", f"{stream} {day:%Y-%m-%d}", load_id, day)
    return watch.observe(session, about, figures, Watch(), "UTC", datasets=2, **options)[0]


def opened(pipeline: Pipeline, days: int) -> None:
    """A shop with the orders of yesterday and of today in `good`, weeks of figures, and raw as of yesterday."""
    pipeline.at_source(
        f"create table orders {_TABLE}; create table good (like orders);"
        "create table customers (id int, email text, city text); create table people (like customers);"
        f"insert into people select i, 'c' || i || '@example.com', 'city ' || i % 20 from generate_series(1, {CUSTOMERS}) i"
    )
    with psycopg.connect(pipeline.source, autocommit=True) as session:
        session.execute("set timezone = 'UTC'; select setseed(0.1)")
        fill(session, "good", TODAY - DAY, 400)
        session.execute("insert into orders table good; insert into customers table people")
    pipeline.pull(shop_contract(), until(TODAY - DAY))
    with psycopg.connect(pipeline.warehouse, autocommit=True) as session:
        session.execute("set timezone = 'UTC'; select setseed(0.2)")
        people = profile(
            session, "raw_shop", "customers", TODAY, personal=frozenset({"email"}), keys=frozenset({"id"})
        )
        people = [figure for figure in people if not figure.column.startswith("_")]
        for back in range(days, 1, -1):
            day = TODAY - back * DAY
            ordinary_day(session, day, rows_of(day, ((back * 7) % 11 - 5) / 4))
            past_load(session, "customers", day, people)
    with psycopg.connect(pipeline.source, autocommit=True) as session:
        session.execute("set timezone = 'UTC'; select setseed(0.3)")
        fill(session, "good", TODAY, 410)


def until(end: datetime) -> Interval:
    """Everything up to then."""
    return Interval(None, end)


@contextmanager
def another(pipeline: Pipeline, number: int) -> Iterator[Pipeline]:
    """The same shop with a warehouse of its own, a copy, and today's orders at the source."""
    name = urlsplit(pipeline.warehouse).path.lstrip("/")
    copy = f"{name}_{number}"
    with psycopg.connect(pipeline.source, autocommit=True) as session:
        # a template must have no sessions, and an audit leaves one of its own behind for a while
        session.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))
        session.execute(f"create database {copy} template {name}".encode())
        session.execute(f"grant create on database {copy} to millrace_loader".encode())
    uri = urlunsplit(urlsplit(pipeline.warehouse)._replace(path=f"/{copy}"))
    connections = {
        conn_id: replace(one, schema=copy) if conn_id.startswith("warehouse_") else one
        for conn_id, one in pipeline.connections.items()
    }
    try:
        made = Pipeline(pipeline.source, uri, connections, runs=1000 * number)
        # the landing zone is shared, and no object in it is written twice
        made.at_warehouse(f"alter table ledger.load alter column load_id restart with {10_000 * number}")
        made.at_source(
            "drop table orders, customers; create table orders (like good); create table customers (like people);"
            "insert into orders table good; insert into customers table people"
        )
        yield made
    finally:
        with psycopg.connect(pipeline.source, autocommit=True) as session:
            session.execute(f"drop database {copy} with (force)".encode())


def told(pipeline: Pipeline) -> dict[str, list[dict[str, Any]]]:
    """What was said of the streams of the newest load."""
    rows = pipeline.at_warehouse(
        "select stream, failures from ledger.load_stream where load_id = (select max(load_id) from ledger.load)"
    )
    return {stream: failures or [] for stream, failures in rows}
