"""Bad batches through the real path: what stops each, or who is told; raw gets no row of a batch that was stopped, and every
row of one that was not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from include.core.errors import MillraceError
from tests.support.pipeline import Pipeline, build
from tests.support.stack import PostgresServer, S3Store
from tests.support.watched import COLUMNS, TODAY, another, opened, shop_contract, told, until

SUITE = """
import great_expectations.expectations as gxe

def expectations():
    return [
        gxe.UnexpectedRowsExpectation(
            unexpected_rows_query="select id from {batch} where placed_at > updated_at",
            severity="critical", description="nothing is placed after its last change",
        )
    ]
"""
#: The rows of today's batch, at the source.
NEW = "updated_at >= '2026-06-16Z'"
TEN = f"insert into orders select {COLUMNS.replace('id,', 'id + 1000 * i,', 1)} from orders, generate_series(1, 9) i where {NEW}"


@dataclass(frozen=True)
class Bad:
    """What is done to today's good batch; what is said of it; whether that stops it; what the contract says besides."""

    done: str
    said: str
    stops: bool = False
    rules: dict[str, Any] = field(default_factory=dict)
    stream: str = "orders"


def stopped(done: str, said: str, stream: str = "orders", **rules: Any) -> Bad:
    return Bad(done, said, True, rules, stream)


def column(name: str, **rule: Any) -> dict[str, Any]:
    """A rule of a column, beside its type."""
    from tests.support.watched import ORDERS

    return {"columns": {name: ORDERS["columns"][name] | rule}}


def every(assigned: str) -> str:
    return f"update orders set {assigned} where {NEW}"


CRITICAL = {"watch": {"severity": "critical"}}
BATCHES = {
    # keys, nulls, references
    "a key is null": stopped(f"update orders set id = null where id = (select max(id) from orders where {NEW})", "primary key id is not null"),
    "a row comes twice": stopped(f"insert into orders select * from orders where {NEW} limit 1", "primary key (id) is unique"),
    "the batch comes twice": stopped(f"insert into orders select * from orders where {NEW}", "primary key (id) is unique"),
    "a null where none may be": stopped(f"update orders set customer = null where id = (select max(id) from orders where {NEW})", "customer is not null"),
    "an orphan": stopped(f"update orders set customer = 99999 where id = (select max(id) from orders where {NEW})", "refers to a row of customers"),
    "mixed-up keys": stopped(every("customer = (id % 100000)::int + 5000"), "refers to a row of customers"),
    "parents are missing": stopped("delete from customers where id % 7 = 0", "refers to a row of customers", customers={"deletes": "none"}),
    # values that a rule forbids
    "negative amounts": stopped(every("total = -total"), "total is between"),
    "one absurd amount": stopped(f"update orders set total = 9999999 where id = (select max(id) from orders where {NEW})", "total is between", orders=column("total", min=0, max=100000)),
    "an unknown status": stopped(f"update orders set status = 'lost' where id = (select max(id) from orders where {NEW})", "status is one of", orders=column("status", values=["new", "paid", "sent"])),
    "a category that is spelt otherwise": stopped(every("status = upper(status)"), "status is one of", orders=column("status", values=["new", "paid", "sent"])),
    "lower case codes": stopped(every("currency = lower(currency)"), "currency matches"),
    "whitespace around codes": stopped(every("currency = ' ' || currency"), "currency matches"),
    "encoding damage in codes": stopped(every("currency = 'â‚¬'"), "currency matches"),
    "empty text in place of a code": stopped(every("currency = ''"), "currency matches"),
    "zero where none may be": stopped(every("quantity = 0"), "quantity is between", orders=column("quantity", min=1)),
    "more errors than are tolerated": stopped(f"update orders set status = '?' where {NEW} and id % 10 = 0", "status is one of", orders=column("status", values=["new", "paid", "sent"]), errors_tolerated=0.05),
    "swapped time columns": stopped(every("placed_at = updated_at, updated_at = placed_at + interval '1 hour'"), "nothing is placed after its last change"),
    "placed in the future": stopped(every("placed_at = placed_at + interval '1 year'"), "nothing is placed after its last change"),
    # the table
    "a wrong type": stopped("alter table orders alter total type text", "total"),
    "a column is gone": stopped("alter table orders drop column paid", "paid"),
    "a column is called otherwise": stopped("alter table orders rename column note to remark", "note"),
    "a new column": stopped("alter table orders add column tier text", "tier"),
    "a truncated snapshot": stopped("truncate customers", "the batch has 100 to", "customers", customers={"min_rows": 100}),
    "most of a snapshot is missing": stopped("delete from customers where id > 60; update orders set customer = 1", "rows"),
    # volume
    "ten times too many, with a rule": stopped(TEN, "the batch has 0 to 1000 rows", orders={"max_rows_per_day": 1000}),
    "ten times too many, and that is critical": stopped(TEN, "rows is between", orders=CRITICAL),
    "half is missing, and that is critical": stopped(f"delete from orders where {NEW} and id % 2 = 0", "rows is between", orders=CRITICAL),
    "empty, and that is critical": stopped(f"delete from orders where {NEW}", "rows is between", orders=CRITICAL),
    "ten times too many": Bad(TEN, "rows is between"),
    "half is missing": Bad(f"delete from orders where {NEW} and id % 2 = 0", "rows is between"),
    "the end of the file is missing": Bad(f"delete from orders where {NEW} and updated_at > '2026-06-16 08:00Z'", "rows is between"),
    "empty": Bad(f"delete from orders where {NEW}", "rows is between"),
    "yesterday's file again": Bad(f"delete from orders where {NEW}; update orders set updated_at = updated_at + interval '1 day'", "typical age of placed_at"),
    "all rows double, the newest wins": Bad(f"insert into orders select * from orders where {NEW}", "rows is between", rules={"duplicates": "newest_wins"}),
    "a fourth of a snapshot is missing": Bad("delete from customers where id > 130; update orders set customer = 1 + customer % 130", "rows is between", stream="customers", rules={"customers": {"max_delete_share": 0.5}}),
    # figures of columns
    "a column is null": Bad(every("note = null"), "share of nulls in note"),
    "more nulls than ever": Bad(f"update orders set note = null where {NEW} and id % 3 = 0", "share of nulls in note"),
    "NaN everywhere": Bad(every("weight = 'NaN'"), "share of nulls in weight"),
    "a flag is not filled": Bad(every("paid = null"), "share of nulls in paid"),
    "a flag has its default": Bad(every("paid = false"), "share of true in paid"),
    "personal data is gone": Bad("update customers set email = null", "share of nulls in email", stream="customers"),
    "times of another zone": Bad(every("placed_at = placed_at - interval '9 hours'"), "typical age of placed_at"),
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
    "encoding damage": Bad(every("note = convert_from(convert_to(note, 'UTF8'), 'LATIN1')"), "typical length of note"),
    "a dimension has one value": Bad("update customers set city = ''", "distinct values of city", stream="customers"),
}  # fmt: skip


@pytest.fixture(scope="module")
def suites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("suites")
    (folder / "raw_shop").mkdir()
    (folder / "raw_shop" / "orders.py").write_text(SUITE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MILLRACE_SUITES", str(folder))
        yield folder


@pytest.fixture(scope="module")
def history(postgres_server: PostgresServer, s3_store: S3Store, suites: Path) -> Iterator[Pipeline]:
    """A shop with six weeks of ordinary days behind it."""
    with ExitStack() as databases:
        made = [databases.enter_context(postgres_server.database(name)) for name in ("source", "warehouse")]
        pipeline = build(made[0], made[1], s3_store)
        opened(pipeline, 42)
        yield pipeline


@pytest.fixture
def shop(history: Pipeline, request: pytest.FixtureRequest) -> Iterator[Pipeline]:
    """A copy of it, with today's good batch at the source."""
    _COPIES.append(request.node.name)
    with another(history, len(_COPIES)) as pipeline:
        yield pipeline


_COPIES: list[str] = []


def _raw(shop: Pipeline) -> list[tuple[Any, ...]]:
    return shop.at_warehouse(
        "select (select md5(string_agg(t::text, '' order by id)) from raw_shop.orders t),"
        " (select md5(string_agg(t::text, '' order by id)) from raw_shop.customers t),"
        " (select array_agg(watermark order by stream) from ledger.watermark)"
    )


def _rules(failures: list[dict[str, Any]], severity: str) -> str:
    return "\n".join(failure["rule"] for failure in failures if failure["severity"] == severity)


@pytest.mark.parametrize("name", BATCHES)
def test_a_bad_batch(shop: Pipeline, name: str) -> None:
    bad, before = BATCHES[name], _raw(shop)
    shop.at_source(bad.done)
    contract = shop_contract(
        **{key: dict(rule) if isinstance(rule, dict) else rule for key, rule in bad.rules.items()}
    )
    if bad.stops:
        with pytest.raises(MillraceError) as caught:
            shop.pull(contract, until(TODAY))
        said = told(shop).get(bad.stream, [])
        assert bad.said in _rules(said, "critical") or bad.said in str(caught.value)
        assert (
            _raw(shop) == before
        )  # no row of it, and the watermark is where it was: the good rows come again
        return
    shop.pull(contract, until(TODAY))
    said = told(shop)[bad.stream]
    assert bad.said in _rules(said, "warning")
    assert _rules(said, "critical") == ""
    if "duplicates" not in bad.rules:
        assert shop.same("orders", "raw_shop.orders", COLUMNS)


def test_a_good_batch_is_published_without_a_word_and_stays_history(shop: Pipeline) -> None:
    shop.pull(shop_contract(), until(TODAY))
    assert told(shop) == {"customers": [], "orders": []}
    states = shop.at_warehouse(
        "select distinct state from ledger.metric where dataset = 'raw_shop.orders' and at = %s and state <> 'in'",
        TODAY,
    )
    assert states == []


def test_what_was_stopped_comes_with_the_next_load_once_it_is_right(shop: Pipeline) -> None:
    shop.at_source(every("currency = lower(currency)"))
    with pytest.raises(MillraceError):
        shop.pull(shop_contract(), until(TODAY))
    shop.at_source(every("currency = upper(currency)"))
    shop.pull(shop_contract(), until(TODAY))
    assert shop.same("orders", "raw_shop.orders", COLUMNS)
