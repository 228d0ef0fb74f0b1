"""What people do in the shop: each action is a few statements inside its caller's transaction.

An action takes a cursor, a random generator and the books of its transaction. It picks its rows at random,
skips those that somebody else holds, keeps the shop's rules (totals, payments, refunds) and writes every
changed row into the books. It returns False, having changed nothing, when there is no row it could work on.

Moments that people would notice (shipped, captured, deleted) come from clock_timestamp(): now() is the start
of the transaction and, in a long one, could lie before the order it belongs to.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import NamedTuple

from psycopg.types.json import Jsonb

from include.demo.books import Books, Cursor, pick

Action = Callable[[Cursor, random.Random, Books], bool]

# Orders that nobody has begun to pay; what is authorised is no longer changed.
UNPAID = (
    "status = 'pending' and not exists (select from shop.payments as p"
    " where p.order_id = t.order_id and p.status <> 'failed')"
)


def sign_up(cursor: Cursor, rng: random.Random, books: Books) -> bool:
    first, last = (
        rng.choice(("Ada", "Björn", "Carmen", "Dilan", "Eva")),
        rng.choice(("Berg", "Costa", "Đỗ", "Ek")),
    )
    cursor.execute(
        "with new as (select nextval(pg_get_serial_sequence('shop.customers', 'customer_id')) as id),"
        " customer as (insert into shop.customers (customer_id, email, full_name, preferences)"
        " select id, 'visitor.' || id || '@example.com', %s, %s from new)"
        " insert into shop.addresses (customer_id, kind, street, postcode, city, country)"
        " select id, 'shipping', %s, '10115', 'Berlin', 'DE' from new",
        (f"{first} {last}", Jsonb({"newsletter": rng.random() < 0.6}), f"Lindenallee {rng.randrange(1, 99)}"),
    )
    books.inserts.update(customers=1, addresses=1)
    return True


def change_customer(cursor: Cursor, rng: random.Random, books: Books) -> bool:
    row = pick(cursor, rng, "customers", "customer_id", "deleted_at is null", "customer_id")
    if row is None:
        return False
    change, value = rng.choice(
        (
            ("phone = %s", f"+49 {rng.randrange(10**6, 10**7)}"),
            ("tier = %s::shop.customer_tier", rng.choice(("silver", "gold", "platinum"))),
            ("preferences = preferences || %s", Jsonb({"newsletter": rng.random() < 0.5})),
            ("email = %s || '.' || customer_id || '@example.org'", "moved"),
        )
    )
    cursor.execute(f"update shop.customers set {change} where customer_id = %s".encode(), (value, row[0]))
    books.updates.update(customers=1)
    return True


def move_house(cursor: Cursor, rng: random.Random, books: Books) -> bool:
    row = pick(cursor, rng, "addresses", "address_id", "true", "address_id")
    if row is None:
        return False
    cursor.execute(
        "update shop.addresses set street = %s, postcode = null where address_id = %s",
        (f"High Road {rng.randrange(1, 400)}", row[0]),
    )
    books.updates.update(addresses=1)
    return True


def leave(cursor: Cursor, rng: random.Random, books: Books) -> bool:
    """A soft delete, of a customer for whom nothing is under way."""
    idle = (
        "deleted_at is null and not exists (select from shop.orders as o where o.customer_id = t.customer_id"
        " and o.status in ('pending', 'paid', 'shipped'))"
    )
    row = pick(cursor, rng, "customers", "customer_id", idle, "customer_id")
    if row is None:
        return False
    # An order that was placed between the pick's snapshot and its lock keeps its customer: this looks again.
    cursor.execute(
        "update shop.customers as t set deleted_at = clock_timestamp(), status = 'closed'"
        f" where customer_id = %s and {idle}".encode(),
        (row[0],),
    )
    books.updates.update(customers=cursor.rowcount)
    return cursor.rowcount == 1


def place_order(cursor: Cursor, rng: random.Random, books: Books) -> bool:
    customer = pick(
        cursor, rng, "customers", "customer_id", "deleted_at is null and status = 'active'", "customer_id"
    )
    products = cursor.execute(
        "select product_id, price from shop.products where is_active and price >= 0 and product_id >= "
        "floor(%s * (select max(product_id) from shop.products)) order by product_id limit %s",
        (rng.random() * 0.95, rng.randrange(1, 5)),
    ).fetchall()
    if customer is None or not products:
        return False
    lines = [(product, rng.choice((1, 1, 1, 2, 3)), price) for product, price in products]
    items_total = sum((quantity * price for _, quantity, price in lines), Decimal(0))
    discount = (items_total * rng.choice((0, 0, 0, 10)) / 100).quantize(Decimal("0.01"))
    order = cursor.execute(
        "insert into shop.orders"
        " (customer_id, shipping_address_id, channel, items_total, discount_total, order_total)"
        " values (%s, (select min(address_id) from shop.addresses where customer_id = %s), %s, %s, %s, %s)"
        " returning order_id",
        (customer[0], customer[0], rng.choice(("web", "app")), items_total, discount, items_total - discount),
    ).fetchone()
    assert order is not None  # insert … returning gives its row
    cursor.executemany(
        "insert into shop.order_items (order_id, line_no, product_id, quantity, unit_price)"
        " values (%s, %s, %s, %s, %s)",
        [(order[0], number, *line) for number, line in enumerate(lines, start=1)],
    )
    books.inserts.update(orders=1, order_items=len(lines))
    return True


def remove_item(cursor: Cursor, rng: random.Random, books: Books) -> bool:
    """A hard delete: one line less in a pending order, whose totals follow."""
    lines = "(select count(*) from shop.order_items as i where i.order_id = t.order_id)"
    row = pick(cursor, rng, "orders", "order_id", f"{UNPAID} and {lines} > 1", "order_id")
    if row is None:
        return False
    cursor.execute(
        "delete from shop.order_items where (order_id, line_no) in ("
        "select order_id, line_no from shop.order_items where order_id = %s"
        " and (select count(*) from shop.order_items where order_id = %s) > 1"
        " order by line_no desc limit 1)",
        (row[0], row[0]),
    )
    if cursor.rowcount == 0:
        return False
    books.deletes.update(order_items=1)
    cursor.execute(
        "update shop.orders set items_total = total, discount_total = least(discount_total, total),"
        " order_total = total - least(discount_total, total)"
        " from (select sum(line_total) as total from shop.order_items where order_id = %s) as rest"
        " where order_id = %s",
        (row[0], row[0]),
    )
    books.updates.update(orders=1)
    return True


def pay(cursor: Cursor, rng: random.Random, books: Books) -> bool:
    row = pick(cursor, rng, "orders", "order_id", UNPAID, "order_id, order_total, currency")
    if row is None:
        return False
    cursor.execute(
        "insert into shop.payments"
        " (order_id, method, status, amount, currency, provider_reference, captured_at)"
        " values (%s, %s, 'captured', %s, %s, %s, clock_timestamp())",
        (row[0], rng.choice(("card", "paypal")), row[1], row[2], f"psp_{rng.getrandbits(48):012x}"),
    )
    cursor.execute("update shop.orders set status = 'paid' where order_id = %s", (row[0],))
    books.inserts.update(payments=1)
    books.updates.update(orders=1)
    return True


def ship(cursor: Cursor, rng: random.Random, books: Books) -> bool:
    return _advance(
        cursor, rng, books, "status = 'paid'", "status = 'shipped', shipped_at = clock_timestamp()"
    )


def deliver(cursor: Cursor, rng: random.Random, books: Books) -> bool:
    return _advance(
        cursor, rng, books, "status = 'shipped'", "status = 'delivered', delivered_at = clock_timestamp()"
    )


def cancel(cursor: Cursor, rng: random.Random, books: Books) -> bool:
    return _advance(cursor, rng, books, UNPAID, "status = 'cancelled'")


def _advance(cursor: Cursor, rng: random.Random, books: Books, where: str, change: str) -> bool:
    row = pick(cursor, rng, "orders", "order_id", where, "order_id")
    if row is None:
        return False
    cursor.execute(f"update shop.orders set {change} where order_id = %s".encode(), (row[0],))
    books.updates.update(orders=1)
    return True


def refund(cursor: Cursor, rng: random.Random, books: Books) -> bool:
    """A part of what is left of a delivered order's payment; now and then all of it, and the order comes
    back."""
    row = pick(cursor, rng, "orders", "order_id", "status = 'delivered'", "order_id")
    if row is None:
        return False
    everything = rng.random() < 0.3
    share = Decimal(1) if everything else Decimal(rng.randrange(5, 60)) / 100
    # The order's lock keeps other refunds away: the rest of a payment can't be given back twice.
    cursor.execute(
        "insert into shop.refunds (payment_id, amount, reason)"
        " select payment_id, round(rest * %s, 2), %s from (select payment_id,"
        " p.amount - coalesce((select sum(r.amount) from shop.refunds as r"
        " where r.payment_id = p.payment_id), 0) as rest from shop.payments as p"
        " where order_id = %s and status = 'captured') as due"
        " where round(rest * %s, 2) > 0",
        (share, "returned" if everything else rng.choice(("damaged", "late", None)), row[0], share),
    )
    refunds = cursor.rowcount
    if everything:
        cursor.execute("update shop.orders set status = 'returned' where order_id = %s", (row[0],))
        books.updates.update(orders=1)
    books.inserts.update(refunds=refunds)
    return everything or refunds > 0


def change_prices(cursor: Cursor, rng: random.Random, books: Books) -> bool:
    # Locked in the order of the key: two repricings that overlap wait for each other instead of deadlocking.
    cursor.execute(
        "update shop.products set price = round(price * %s, 2) where product_id in (select product_id from"
        " shop.products where product_id >= floor(%s * (select max(product_id) from shop.products))"
        " order by product_id limit %s for update)",
        (Decimal(rng.randrange(90, 115)) / 100, rng.random() * 0.9, rng.randrange(1, 20)),
    )
    books.updates.update(products=cursor.rowcount)
    return cursor.rowcount > 0


def rename_category(cursor: Cursor, rng: random.Random, books: Books) -> bool:
    row = pick(cursor, rng, "categories", "category_id", "parent_id is not null", "category_id, name")
    if row is None:
        return False
    name = row[1].removesuffix(" & More") if row[1].endswith(" & More") else f"{row[1]} & More"
    cursor.execute("update shop.categories set name = %s where category_id = %s", (name, row[0]))
    books.updates.update(categories=1)
    return True


def browse(cursor: Cursor, rng: random.Random, books: Books) -> bool:
    session = f"{rng.getrandbits(128):032x}"
    events: Sequence[tuple[str, str, Jsonb]] = [
        (session, kind, Jsonb({"path": f"/p/{product}", "product_id": product, "device": "phone"}))
        for kind in rng.choices(("page_viewed", "product_viewed", "cart_filled"), k=rng.randrange(3, 15))
        for product in (rng.randrange(1, 500),)
    ]
    cursor.executemany(
        "insert into shop.web_events (session_id, event_type, payload) values (%s, %s, %s)", events
    )
    books.inserts.update(web_events=len(events))
    return True


class Habit(NamedTuple):
    action: Action
    weight: int


HABITS = (
    Habit(browse, 26),
    Habit(place_order, 20),
    Habit(pay, 12),
    Habit(ship, 8),
    Habit(deliver, 7),
    Habit(change_customer, 6),
    Habit(refund, 5),
    Habit(sign_up, 5),
    Habit(remove_item, 5),
    Habit(cancel, 2),
    Habit(change_prices, 2),
    Habit(move_house, 2),
    Habit(leave, 2),
    Habit(rename_category, 1),
)
"""What is done how often; `browse` always finds something to do."""
