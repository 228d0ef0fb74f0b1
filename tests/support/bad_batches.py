"""A matrix of bad batches: what is done to a good one, what is said of it, and whether that stops it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.support.watched import COLUMNS, ORDERS

#: The rows of today's batch, at the source.
NEW = "updated_at >= '2026-06-16Z'"
TEN = (
    f"insert into orders select {COLUMNS.replace('id,', 'id + 1000 * i,', 1)} from orders, generate_series(1, 9) i"
    f" where {NEW}"
)


@dataclass(frozen=True)
class Bad:
    """What is done to today's good batch; what is said of it; whether that stops it; what the contract says besides."""

    done: str
    said: str
    stops: bool = False
    rules: dict[str, Any] = field(default_factory=dict)
    stream: str = "orders"

    @property
    def alone(self) -> bool:
        """Whether `orders` is read without its customers, which costs less."""
        return self.stream == "orders" and "customer" not in self.said and "customers" not in self.done


def stopped(done: str, said: str, stream: str = "orders", **rules: Any) -> Bad:
    return Bad(done, said, True, rules, stream)


def column(name: str, **rule: Any) -> dict[str, Any]:
    """A rule of a column, beside its type."""
    return {"columns": {name: ORDERS["columns"][name] | rule}}


def one(assigned: str) -> str:
    """A statement that changes a row of today's batch."""
    return f"update orders set {assigned} where id = (select max(id) from orders where {NEW})"


def every(assigned: str) -> str:
    """A statement that changes all of its rows."""
    return f"update orders set {assigned} where {NEW}"


ACCEPTED = {"by": "somebody", "why": "they are the same", "until": "2099-12-31"}
CRITICAL = {"watch": {"severity": "critical"}}
STATUS = column("status", values=["new", "paid", "sent"])
BATCHES = {
    # keys, nulls, references
    "a key is null": stopped(one("id = null"), "primary key id is not null"),
    "a row comes twice": stopped(
        f"insert into orders select * from orders where {NEW} limit 1", "primary key (id) is unique"
    ),
    "the batch comes twice": stopped(
        f"insert into orders select * from orders where {NEW}", "primary key (id) is unique"
    ),
    "a null where none may be": stopped(one("customer = null"), "customer is not null"),
    "an orphan": stopped(one("customer = 99999"), "refers to a row of customers"),
    "mixed-up keys": stopped(every("customer = (id % 100000)::int + 5000"), "refers to a row of customers"),
    # values that a rule forbids
    "negative amounts": stopped(every("total = -total"), "total is between"),
    "one absurd amount": stopped(
        one("total = 9999999"), "total is between", orders=column("total", min=0, max=100000)
    ),
    "an unknown status": stopped(one("status = 'lost'"), "status is one of", orders=STATUS),
    "a category that is spelt otherwise": stopped(
        every("status = upper(status)"), "status is one of", orders=STATUS
    ),
    "lower case codes": stopped(every("currency = lower(currency)"), "currency matches"),
    "whitespace around codes": stopped(every("currency = ' ' || currency"), "currency matches"),
    "encoding damage in codes": stopped(every("currency = 'Ã¤'"), "currency matches"),
    "empty text in place of a code": stopped(every("currency = ''"), "currency matches"),
    "zero where none may be": stopped(
        every("quantity = 0"), "quantity is between", orders=column("quantity", min=1)
    ),
    "more errors than tolerated": stopped(
        f"update orders set status = '?' where {NEW} and id % 10 = 0",
        "status is one of",
        orders=STATUS,
        errors_tolerated=0.05,
    ),
    "swapped time columns": stopped(
        every("placed_at = updated_at, updated_at = placed_at + interval '1 hour'"),
        "nothing is placed after its last change",
    ),
    "placed in the future": stopped(
        every("placed_at = placed_at + interval '1 year'"), "nothing is placed after its last change"
    ),
    # the table
    "a wrong type": stopped("alter table orders alter total type text", "total"),
    "a column is gone": stopped("alter table orders drop column paid", "paid"),
    "a column is called otherwise": stopped("alter table orders rename column note to remark", "note"),
    "a new column": stopped("alter table orders add column tier text", "tier"),
    "a truncated snapshot": stopped(
        "truncate customers", "the batch has 100 to", "customers", customers={"min_rows": 100}
    ),
    "most of a snapshot is missing": stopped(
        "delete from customers where id > 60; " + every("customer = 1"), "more rows would be deleted"
    ),
    # volume
    "ten times too many, with a rule": stopped(
        TEN, "the batch has 0 to 1000 rows", orders={"max_rows_per_day": 1000}
    ),
    "ten times too many, and that is critical": stopped(TEN, "rows is between", orders=CRITICAL),
    "half is missing, and that is critical": stopped(
        f"delete from orders where {NEW} and id % 2 = 0", "rows is between", orders=CRITICAL
    ),
    "empty, and that is critical": stopped(
        f"delete from orders where {NEW}", "rows is between", orders=CRITICAL
    ),
    "ten times too many": Bad(TEN, "rows is between"),
    "half is missing": Bad(f"delete from orders where {NEW} and id % 2 = 0", "rows is between"),
    "the end of the file is missing": Bad(
        f"delete from orders where {NEW} and updated_at > '2026-06-16 08:00Z'", "rows is between"
    ),
    "empty": Bad(f"delete from orders where {NEW}", "rows is between"),
    "yesterday's file again": Bad(
        f"delete from orders where {NEW}; update orders set updated_at = updated_at + interval '1 day'",
        "typical age of placed_at",
    ),
    "all rows double, and may": Bad(
        f"insert into orders select * from orders where {NEW}",
        "rows is between",
        rules={"duplicates": ACCEPTED},
    ),
    "a fourth of a snapshot is missing": Bad(
        "delete from customers where id > 130; " + every("customer = 1 + customer % 130"),
        "rows is between",
        stream="customers",
        rules={"customers": {"max_delete_share": 0.5}},
    ),
    # figures of columns
    "a column is null": Bad(every("note = null"), "share of nulls in note"),
    "more nulls than ever": Bad(
        f"update orders set note = null where {NEW} and id % 3 = 0", "share of nulls in note"
    ),
    "NaN everywhere": Bad(every("weight = 'NaN'"), "share of nulls in weight"),
    "a flag is not filled": Bad(every("paid = null"), "share of nulls in paid"),
    "a flag has its default": Bad(every("paid = false"), "share of true in paid"),
    "personal data is gone": Bad(
        "update customers set email = null", "share of nulls in email", stream="customers"
    ),
    "times of another zone": Bad(
        every("placed_at = placed_at - interval '9 hours'"), "typical age of placed_at"
    ),
    "1970 everywhere": Bad(every("placed_at = 'epoch'"), "typical age of placed_at"),
    "cents in place of euros": Bad(every("total = total * 100"), "typical total"),
    "a drifted mean": Bad(every("total = total * 1.5"), "typical total"),
    "other units": Bad(every("weight = weight / 1000"), "typical weight"),
    "zero everywhere": Bad(every("total = 0"), "typical total"),
    "a constant": Bad(every("weight = 400"), "distinct values of weight"),
    "defaults": Bad(every("quantity = 1"), "typical quantity"),
    "one category for all": Bad(every("status = 'new'"), "distinct values of status"),
    "hundreds of new categories": Bad(every("status = md5(id::text)"), "distinct values of status"),
    "columns are swapped": Bad(every("total = quantity, quantity = total"), "typical quantity"),
    "texts are cut off": Bad(every("note = left(note, 10)"), "typical length of note"),
    "texts are padded": Bad(every("note = rpad(note, 80)"), "typical length of note"),
    "encoding damage": Bad(
        every("note = convert_from(convert_to(note, 'UTF8'), 'LATIN1')"), "typical length of note"
    ),
    "a dimension has one value": Bad(
        "update customers set city = ''", "distinct values of city", stream="customers"
    ),
}
