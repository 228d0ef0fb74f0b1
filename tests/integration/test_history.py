"""A stream whose contract asks for it keeps every change that its loads found."""

from __future__ import annotations

from typing import Any

import pytest

from include.core.contracts import SourceContract
from tests.support.pipeline import Pipeline, contract

PRICES: dict[str, Any] = {
    "name": "prices",
    "table": "public.prices",
    "primary_key": ["id"],
    "mode": "snapshot",
    "deletes": "snapshot",
    "max_delete_share": 1,
    "history": "append",
    "columns": {"id": {"type": "integer"}, "inserted": {"type": "numeric(8,2)"}, "what": {"type": "text"}},
}


@pytest.fixture
def shop(pipeline: Pipeline) -> Pipeline:
    pipeline.at_source(
        "create table prices (id int primary key, inserted numeric(8,2), what text);"
        "insert into prices values (1, 1, 'tea'), (2, 2, 'rum'), (3, 3, null)"
    )
    return pipeline


def prices(**fields: Any) -> SourceContract:
    return contract("store", [PRICES | fields])


def history(shop: Pipeline) -> list[tuple[Any, ...]]:
    return shop.at_warehouse(
        "select _load_id, id, inserted::text, what, _change from raw_store.prices__history order by 1, 2"
    )


@pytest.mark.parametrize("deleted_rows", ["tombstone", "remove"])
def test_every_change_is_kept_with_the_load_that_found_it(shop: Pipeline, deleted_rows: str) -> None:
    source = prices(deleted_rows=deleted_rows)
    first = shop.pull(source).load_id
    shop.at_source("update prices set inserted = 1.50 where id = 1; delete from prices where id = 2")
    second = shop.pull(source).load_id
    third = shop.pull(source).load_id  # nothing new
    shop.at_source("insert into prices values (2, 2.00, 'rum')")
    fourth = shop.pull(source).load_id
    back = "update" if deleted_rows == "tombstone" else "insert"
    assert history(shop) == [
        (first, 1, "1.00", "tea", "insert"),
        (first, 2, "2.00", "rum", "insert"),
        (first, 3, "3.00", None, "insert"),
        (second, 1, "1.50", "tea", "update"),
        (second, 2, "2.00", "rum", "delete"),
        (fourth, 2, "2.00", "rum", back),
    ]
    assert third not in {row[0] for row in history(shop)}
    assert shop.same("prices", "raw_store.prices", "id, inserted, what")


def test_the_newest_of_each_key_is_what_raw_holds(shop: Pipeline) -> None:
    for change in (
        "select 1",
        "update prices set what = 'gin' where id = 2",
        "delete from prices where id = 1",
    ):
        shop.at_source(change)
        shop.pull(prices())
    newest = shop.at_warehouse(
        "select id, inserted, what from (select distinct on (id) * from raw_store.prices__history"
        " order by id, _load_id desc) as newest where _change <> 'delete' order by id"
    )
    assert newest == shop.at_source("select * from prices order by id")


def test_a_history_that_is_asked_for_later_begins_with_what_raw_holds(shop: Pipeline) -> None:
    first = shop.pull(prices(history="latest")).load_id
    assert shop.at_warehouse("select to_regclass('raw_store.prices__history')") == [(None,)]
    shop.at_source("delete from prices where id = 3")
    second = shop.pull(prices(history="latest")).load_id
    shop.at_source(
        "update prices set inserted = 9 where id = 1; alter table prices add column extra text default 'x'"
    )
    wider = prices(columns=PRICES["columns"] | {"extra": {"type": "text"}})
    third = shop.pull(wider).load_id
    kept = shop.at_warehouse(
        "select _load_id, id, extra, _change from raw_store.prices__history order by 1, 2"
    )
    assert kept == [
        (first, 1, None, "insert"),
        (first, 2, None, "insert"),
        (second, 3, None, "delete"),
        (third, 1, "x", "update"),
        (third, 2, "x", "update"),
    ]


def test_a_publication_that_is_undone_leaves_no_history(shop: Pipeline) -> None:
    shop.pull(prices())
    before = history(shop)
    shop.at_source("update prices set inserted = 5")
    shop.at_warehouse(
        "create function public.no() returns trigger language plpgsql as $$ begin raise 'no'; end $$;"
        "create trigger no before update on ledger.watermark for each row execute function public.no()"
    )
    with pytest.raises(Exception, match="no"):
        shop.pull(prices())
    assert history(shop) == before
    shop.at_warehouse("drop trigger no on ledger.watermark")
    shop.pull(prices())
    assert [row[4] for row in history(shop)[3:]] == ["update"] * 3


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"primary_key": [], "deletes": "none"}, "without one no row has a history"),
        ({"name": "p" * 60}, "has more than 63 bytes"),
        ({"columns": PRICES["columns"] | {"_change": {"type": "text"}}}, "a history has its own"),
    ],
)
def test_what_can_have_no_history_is_refused(fields: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        prices(**fields)


def test_two_streams_cannot_share_a_table() -> None:
    with pytest.raises(ValueError, match="the history needs it"):
        contract("store", [PRICES, PRICES | {"name": "prices__history", "history": "latest"}])
