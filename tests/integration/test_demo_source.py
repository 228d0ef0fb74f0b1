"""The demo's shop and CRM in a real Postgres: reproducible, consistent under traffic, closed to readers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import sql

from include.core.errors import TerminalError
from include.demo import crm, shop
from include.demo.seed import seed
from include.demo.shop import TABLES, row_counts
from include.demo.traffic import generate
from tests.support.demo import Database, create_crm, create_shop
from tests.support.stack import PostgresServer

UNTIL = dt.date(2026, 6, 1)

# Each finds rows that break a rule of the business.
BROKEN_RULES = {
    "an order's items_total is the sum of its lines": """
        select order_id from shop.orders left join shop.order_items using (order_id)
        group by order_id, items_total having items_total is distinct from sum(line_total)""",
    "an order costs its items less the discount, and never less than nothing": """
        select order_id from shop.orders
        where order_total <> items_total - discount_total or order_total < 0""",
    "what counts as paid is paid in full, what is pending is not": """
        select o.order_id from shop.orders as o
        left join shop.payments as p on p.order_id = o.order_id and p.status = 'captured'
        group by o.order_id having
            (o.status in ('paid', 'shipped', 'delivered', 'returned')
                and coalesce(sum(p.amount), 0) <> o.order_total)
            or (o.status = 'pending' and count(p.payment_id) > 0)""",
    "a payment is in its order's currency": """
        select payment_id from shop.payments as p join shop.orders as o using (order_id)
        where p.currency <> o.currency""",
    "nobody gets back more than they paid": """
        select payment_id from shop.refunds as r join shop.payments as p using (payment_id)
        group by payment_id, p.amount, p.status having sum(r.amount) > p.amount or p.status <> 'captured'""",
    "what came back or was cancelled is paid back in full": """
        select o.order_id from shop.orders as o join shop.payments as p on p.order_id = o.order_id
        where o.status in ('returned', 'cancelled') and p.status = 'captured' and p.amount <> coalesce(
            (select sum(amount) from shop.refunds as r where r.payment_id = p.payment_id), 0)""",
    "nobody orders before signing up or after leaving": """
        select order_id from shop.orders join shop.customers using (customer_id)
        where placed_at < created_at or placed_at > deleted_at""",
    "things happen in their order": """
        select o.order_id from shop.orders as o left join shop.payments as p using (order_id)
        where not (placed_at <= coalesce(shipped_at, 'infinity')
            and coalesce(shipped_at, placed_at) <= coalesce(delivered_at, 'infinity')
            and placed_at <= coalesce(captured_at, 'infinity'))""",
    "an order goes to an address of its customer": """
        select order_id from shop.orders as o join shop.addresses as a on a.address_id = o.shipping_address_id
        where a.customer_id <> o.customer_id""",
}


@pytest.fixture
def make_shop(database: Callable[..., str], postgres_server: PostgresServer) -> Callable[[], Database]:
    return lambda: create_shop(postgres_server, database("shop"))


def query(conninfo: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(conninfo) as connection:
        return connection.execute(statement.encode()).fetchall()


def checksums(conninfo: str) -> dict[str, tuple[Any, ...]]:
    """Of every value of every row, whatever the order of the rows."""
    statement = "select count(*), sum(hashtextextended(t::text, 0)) from shop.{} as t"
    with psycopg.connect(conninfo, options="-c timezone=UTC") as connection:
        rows = {
            table: connection.execute(sql.SQL(statement).format(sql.Identifier(table))).fetchone()
            for table in TABLES
        }
    return {table: row for table, row in rows.items() if row is not None}


def broken_rules(conninfo: str) -> dict[str, list[tuple[Any, ...]]]:
    found = {rule: query(conninfo, statement) for rule, statement in BROKEN_RULES.items()}
    return {rule: rows[:5] for rule, rows in found.items() if rows}


def test_the_same_seed_gives_the_same_shop_and_another_seed_another(
    make_shop: Callable[[], Database],
) -> None:
    one, same, other = make_shop(), make_shop(), make_shop()
    rows = seed(one.owner, until=UNTIL)
    seed(same.owner, until=UNTIL)
    seed(other.owner, until=UNTIL, seed=43)
    assert rows == row_counts(one.owner)
    assert rows["orders"] == 10_000
    assert rows["web_events"] == 50_000
    first, again, others = (checksums(database.owner) for database in (one, same, other))
    assert first == again
    assert {table for table in TABLES if first[table] != others[table]} == set(TABLES) - {"categories"}
    assert broken_rules(one.owner) == {}


def test_a_seed_looks_like_a_shop(make_shop: Callable[[], Database]) -> None:
    database = make_shop()
    progress: list[tuple[int, int]] = []
    rows = seed(database.owner, until=UNTIL, scale=2, progress=lambda done, of: progress.append((done, of)))
    assert progress == [(1, 2), (2, 2)]
    assert rows["orders"] == 20_000
    assert broken_rules(database.owner) == {}
    # two years up to the given day, nothing of it in the future
    first, last = query(database.owner, "select min(placed_at), max(placed_at) from shop.orders")[0]
    assert dt.timedelta(days=690) < last - first < dt.timedelta(days=730)
    stamps = " union all ".join(
        f"select max({column}) from shop.{table}"
        for table in TABLES
        if (column := {"categories": "", "web_events": "received_at"}.get(table, "updated_at"))
    )
    assert all(stamp.date() < UNTIL for (stamp,) in query(database.owner, stamps))
    # a long tail: one customer in ten makes a quarter of the orders or more, some make none
    top, none = query(
        database.owner,
        "select sum(n) filter (where place <= 600), count(*) filter (where n = 0)"
        " from (select count(order_id) as n, row_number() over (order by count(order_id) desc) as place"
        " from shop.customers left join shop.orders using (customer_id) group by customer_id) as t",
    )[0]
    assert top > 20_000 / 4
    assert none > 100
    december, january = query(
        database.owner,
        "select count(*) filter (where placed_at >= '2025-12-01' and placed_at < '2026-01-01'),"
        " count(*) filter (where placed_at >= '2026-01-01' and placed_at < '2026-02-01') from shop.orders",
    )[0]
    assert december > 1.5 * january
    refunded, absent, left = query(
        database.owner,
        "select (select count(*) from shop.refunds) / 20000.0,"
        " (select avg((phone is null)::int) from shop.customers),"
        " (select avg((deleted_at is not null)::int) from shop.customers)",
    )[0]
    assert 0.05 < refunded < 0.15
    assert 0.05 < absent < 0.2
    assert 0.005 < left < 0.05


def test_the_next_customer_gets_the_next_number_after_a_seed(make_shop: Callable[[], Database]) -> None:
    database = make_shop()
    seed(database.owner, until=UNTIL)
    new = query(
        database.owner,
        "insert into shop.customers (email, full_name) values ('new@example.com', 'New')"
        " returning customer_id",
    )
    assert new == [(3001,)]


def test_a_seed_is_all_or_nothing_and_never_mixed(make_shop: Callable[[], Database]) -> None:
    database = make_shop()

    def interrupt(done: int, of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        seed(database.owner, until=UNTIL, scale=2, progress=interrupt)
    assert set(row_counts(database.owner).values()) == {0}
    seed(database.owner, until=UNTIL)
    before = checksums(database.owner)
    with pytest.raises(TerminalError, match="make reset"):
        seed(database.owner, until=UNTIL)
    shop.install(database.owner)
    assert checksums(database.owner) == before


AUDIT = """
create table shop.audit (tab text, op text, pid integer, began timestamptz, happened timestamptz);
create function shop.audit() returns trigger language plpgsql as $$
begin
    insert into shop.audit values (tg_table_name, tg_op, pg_backend_pid(), now(), clock_timestamp());
    return null;
end $$;
"""


def test_traffic_is_concurrent_keeps_the_rules_and_counts_what_it_did(
    make_shop: Callable[[], Database],
) -> None:
    database = make_shop()
    seed(database.owner, until=UNTIL)
    with psycopg.connect(database.owner) as connection:
        connection.execute(AUDIT)
        for table in TABLES:
            connection.execute(
                f"create trigger audit after insert or update or delete on shop.{table}"
                " for each row execute function shop.audit()".encode()
            )
    before = row_counts(database.owner)

    report = generate(database.owner, transactions=400, workers=4, seed=3, long_seconds=0.2)

    assert sum(report.transactions.values()) == 400
    assert all(count > 0 for count in report.transactions.values())
    # what the report says is what the database saw, row by row; what was rolled back is in neither
    seen = query(database.owner, "select op, tab, count(*) from shop.audit group by op, tab")
    for op, counted in (("INSERT", report.inserts), ("UPDATE", report.updates), ("DELETE", report.deletes)):
        assert {table: count for kind, table, count in seen if kind == op} == counted
    after = row_counts(database.owner)
    for table in TABLES:
        assert after[table] - before[table] == report.inserts.get(table, 0) - report.deletes.get(table, 0)
    # everything that ingestion has to find is there
    assert set(report.inserts) >= {"customers", "orders", "order_items", "payments", "refunds", "web_events"}
    assert set(report.updates) >= {"customers", "orders", "products", "categories"}
    assert set(report.deletes) == {"order_items"}
    left = query(database.owner, "select count(*) from shop.customers where deleted_at > '2026-06-02'")
    assert left[0][0] > 0
    # really at the same time: a transaction that began before another one wrote after it
    overtaken = query(
        database.owner,
        "select count(distinct a.pid) from shop.audit as a"
        " where exists (select from shop.audit as b"
        " where b.pid <> a.pid and b.began > a.began and b.happened < a.happened)",
    )
    assert overtaken[0][0] >= 2
    assert len(query(database.owner, "select distinct pid from shop.audit")) == 4
    assert broken_rules(database.owner) == {}


def test_updates_are_stamped_by_the_source(make_shop: Callable[[], Database]) -> None:
    database = make_shop()
    seed(database.owner, until=UNTIL)
    with psycopg.connect(database.owner) as connection:
        row = connection.execute(
            "update shop.products set price = 1, updated_at = '2001-01-01' where product_id = 1"
            " returning updated_at = now()"
        ).fetchone()
    assert row == (True,)


def test_millrace_reads_the_shop_and_writes_nothing(make_shop: Callable[[], Database]) -> None:
    database = make_shop()
    seed(database.owner, until=UNTIL)
    assert row_counts(database.millrace) == row_counts(database.owner)
    with psycopg.connect(database.owner) as connection:
        connection.execute("create table shop.later (id integer)")
    assert query(database.millrace, "select count(*) from shop.later") == [(0,)]
    forbidden = [
        *(f"delete from shop.{table}" for table in TABLES),
        "update shop.products set price = 0",
        "insert into shop.categories (name, slug) values ('x', 'x')",
        "truncate shop.web_events",
        "select nextval('shop.web_events_event_id_seq')",
        "create table shop.mine (id integer)",
        "create schema mine",
    ]
    for statement in forbidden:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            query(database.millrace, statement)


def test_millrace_upserts_its_columns_of_the_crm_and_no_others(
    database: Callable[..., str], postgres_server: PostgresServer
) -> None:
    target = create_crm(postgres_server, database("crm"))
    crm.install(target.owner)
    query(
        target.owner,
        "insert into crm.contacts (external_id, email, owner, notes)"
        " values ('1', 'old@example.com', 'kim', 'call back')"
        " returning 1",
    )
    with psycopg.connect(target.millrace) as connection:
        connection.execute(
            "insert into crm.contacts (external_id, email, segment)"
            " values ('1', 'new@example.com', 'loyal'), ('2', 'b@example.com', 'new')"
            " on conflict (external_id) do update set email = excluded.email, segment = excluded.segment"
        )
    assert query(
        target.owner, "select external_id, email, segment, owner, notes from crm.contacts order by 1"
    ) == [
        ("1", "new@example.com", "loyal", "kim", "call back"),
        ("2", "b@example.com", "new", None, None),
    ]
    assert query(target.owner, "select count(*) from crm.contacts where updated_at > created_at") == [(1,)]
    for statement in (
        "delete from crm.contacts",
        "update crm.contacts set owner = 'me'",
        "update crm.contacts set external_id = '3'",
        "insert into crm.contacts (external_id, notes) values ('4', 'x')",
        "select notes from crm.contacts",
        "truncate crm.contacts",
        "create temporary table mine (id integer)",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            query(target.millrace, statement)
