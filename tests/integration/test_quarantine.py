"""Rows that break a rule are set aside, the others are published, and nothing is lost or forgotten."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from include.core.contracts import SourceContract
from include.core.errors import ContractError, GateFailed
from include.core.interval import Interval
from include.flows import extract, load, publish
from include.flows.publish import Published
from include.warehouse import decisions
from include.warehouse.connect import connected
from tests.support.pipeline import Pipeline, contract
from tests.support.replays import replayed

GOOD = "insert into orders select i, 'c' || i % 5, i, 'o' || i, now() from generate_series(1, 200) i"


def _stream(mode: str = "snapshot", deletes: str = "snapshot") -> dict[str, Any]:
    stream = {
        "name": "orders", "table": "public.orders", "primary_key": ["id"], "mode": mode, "deletes": deletes,
        "columns": {
            "id": {"type": "integer"}, "customer": {"type": "text", "pattern": "^c[0-9]$"},
            "amount %": {"type": "numeric(10,2)", "not_null": True, "min": 0},
            'odd "name"': {"type": "text", "not_null": True},
            "at": {"type": "timestamp with time zone"},
        },
    }  # fmt: skip
    return stream | ({"cursor": "at"} if mode == "incremental" else {})


def _shop(*streams: dict[str, Any], **fields: Any) -> SourceContract:
    return contract(
        "goods",
        list(streams) or [_stream()],
        on_bad_rows="quarantine",
        errors_tolerated=0.05,
        reconcile="0s",
        **fields,
    )


@pytest.fixture
def shop(pipeline: Pipeline) -> Pipeline:
    pipeline.at_source(
        'create table orders (id int primary key, customer text, "amount %" numeric(10,2), "odd ""name""" text,'
        " at timestamptz not null)"
    )
    pipeline.at_source(GOOD)
    return pipeline


def _raw(shop: Pipeline, where: str = "true") -> list[tuple[Any, ...]]:
    query = f'select id, customer, "amount %" from raw_goods.orders where _deleted_at is null and {where} order by id'
    return shop.at_warehouse(query)


def _kept(shop: Pipeline) -> list[tuple[Any, ...]]:
    return shop.at_warehouse(
        "select key ->> 'id', state, (select array_agg(r order by r) from jsonb_array_elements_text(rules) r)"
        " from ledger.quarantine order by 1, quarantine_id"
    )


def _row(published: Published, name: str = "orders") -> dict[str, Any]:
    return next(row for row in published.streams if row["stream"] == name)


@pytest.mark.parametrize(
    ("mode", "deletes"), [("snapshot", "snapshot"), ("incremental", "none"), ("incremental", "keys")]
)
def test_bad_rows_are_set_aside_and_the_others_are_published(shop: Pipeline, mode: str, deletes: str) -> None:
    shop.at_source("update orders set \"amount %\" = -1, customer = 'x%' where id = 3")
    shop.at_source('update orders set "odd ""name""" = null where id = 4')
    published = shop.pull(_shop(_stream(mode, deletes)))
    row = _row(published)
    assert (row["staged"], row["inserted"], row["quarantined"], row["rejected"]) == (200, 198, 2, 0)
    assert [id for id, *_ in _raw(shop)] == [i for i in range(1, 201) if i not in (3, 4)]
    assert _kept(shop) == [
        ("3", "held", ["amount % is between 0.0 and ∞", "customer matches ^c[0-9]$"]),
        ("4", "held", ['odd "name" is not null']),
    ]
    again = _row(shop.pull(_shop(_stream(mode, deletes))))
    assert (again["quarantined"], again["deleted"]) == ((2, 0) if mode == "snapshot" else (0, 0))
    assert len(_kept(shop)) == 2


def test_the_source_corrects_a_row_or_deletes_it(shop: Pipeline) -> None:
    shop.at_source('update orders set "amount %" = -id where id in (3, 4, 5)')
    shop.pull(_shop())
    shop.at_source('update orders set "amount %" = 9 where id = 3; delete from orders where id = 4')
    shop.at_source('update orders set "amount %" = -7 where id = 5')
    published = shop.pull(_shop())
    assert _row(published)["inserted"] == 1 and _raw(shop, "id between 3 and 5") == [(3, "c3", 9)]
    states = [(key, state) for key, state, _ in _kept(shop)]
    assert states == [("3", "superseded"), ("4", "gone"), ("5", "superseded"), ("5", "held")]


def test_what_raw_has_of_a_row_stays_while_its_new_version_is_bad(shop: Pipeline) -> None:
    shop.pull(_shop())
    shop.at_source("update orders set customer = 'nobody' where id = 3")
    row = _row(shop.pull(_shop()))
    assert (row["quarantined"], row["deleted"], row["unchanged"]) == (1, 0, 199)
    assert _raw(shop, "id = 3") == [(3, "c3", 3)]


@pytest.mark.parametrize(
    ("mode", "deletes"), [("snapshot", "snapshot"), ("incremental", "none"), ("incremental", "keys")]
)
def test_a_corrected_row_is_published_and_stays_so_until_the_source_changes_it(
    shop: Pipeline, mode: str, deletes: str
) -> None:
    goods = _shop(_stream(mode, deletes))
    shop.at_source("update orders set \"amount %\" = -1, at = now() - interval '1 d' where id = 3")
    shop.pull(goods)
    with connected(shop.connect("warehouse_loader")) as session:
        (held,) = decisions.listed(session, "goods")
        with pytest.raises(ContractError, match="type"):
            decisions.fix(session, held["quarantine_id"], {"amount %": "many"}, by="ann", why="test")
        with pytest.raises(ContractError, match="no such column"):
            decisions.fix(session, held["quarantine_id"], {"id": "4"}, by="ann", why="test")
        decisions.fix(session, held["quarantine_id"], {"amount %": "19.99"}, by="ann", why="a typo")
    row = _row(shop.pull(goods))
    assert (row["inserted"], row["quarantined"]) == (1, 0)
    assert row["retried"] == (0 if mode == "snapshot" else 1)
    for options in ({}, {"full_refresh": True}):
        row = _row(shop.pull(goods, **options))
        assert (row["inserted"], row["updated"], row["deleted"], row["quarantined"]) == (0, 0, 0, 0)
    assert _raw(shop, "id = 3") == [(3, "c3", Decimal("19.99"))]
    assert shop.at_warehouse("select decided_by, decided_why, published_load from ledger.quarantine") == [
        ("ann", "a typo", 2)
    ]
    before = _image(shop)
    shop.at_warehouse("update raw_goods.orders set customer = 'damaged'")
    assert replayed(shop, goods)["orders"].updated == 200
    assert _image(shop) == before
    shop.at_source('update orders set "amount %" = 5, at = clock_timestamp() where id = 3')
    shop.pull(goods)
    assert _raw(shop, "id = 3") == [(3, "c3", 5)]
    before = _image(shop)
    shop.at_warehouse("delete from raw_goods.orders")
    replayed(shop, goods)
    assert _image(shop) == before


def test_after_a_rule_was_corrected_all_rows_go_along_again(shop: Pipeline) -> None:
    shop.at_source(
        "update orders set customer = 'new' where id = 3; update orders set \"amount %\" = -1 where id = 4"
    )
    shop.pull(_shop(_stream("incremental", "none")))
    wider = _stream("incremental", "none")
    wider["columns"]["customer"] = {"type": "text"}
    row = _row(shop.pull(_shop(wider), retry=True))
    assert (row["landed"], row["retried"], row["staged"], row["inserted"], row["quarantined"]) == (
        0,
        2,
        2,
        1,
        1,
    )
    assert _raw(shop, "id in (3, 4)") == [(3, "new", 3)]
    assert [(key, state) for key, state, _ in _kept(shop)] == [("3", "published"), ("4", "held")]
    before = _image(shop)
    shop.at_warehouse("delete from raw_goods.orders")
    replayed(shop, _shop(wider))
    assert _image(shop) == before


def test_what_was_dropped_stays_out_until_the_source_changes_it(shop: Pipeline) -> None:
    shop.at_source('update orders set "amount %" = -1 where id = 3')
    shop.pull(_shop())
    with connected(shop.connect("warehouse_loader")) as session:
        decisions.drop(session, [1], by="ann", why="a test order")
        with pytest.raises(ContractError, match="waits for nothing"):
            decisions.retry(session, [1], by="ann", why="changed my mind")
    row = _row(shop.pull(_shop(), retry=True))
    assert {failure["severity"] for failure in row["failures"]} == {"dropped"}
    laxer = _stream()
    laxer["columns"]["amount %"] = {"type": "numeric(10,2)"}
    shop.pull(_shop(laxer), full_refresh=True)
    assert _raw(shop, "id = 3") == []
    assert [(key, state) for key, state, _ in _kept(shop)] == [("3", "dropped")]
    shop.at_source('update orders set "amount %" = 1 where id = 3')
    shop.pull(_shop())
    assert _raw(shop, "id = 3") == [(3, "c3", 1)]


def test_more_bad_rows_than_the_budget_stop_the_batch(shop: Pipeline) -> None:
    shop.at_source('update orders set "amount %" = -1 where id <= 11')
    with pytest.raises(GateFailed):
        shop.pull(_shop())
    assert _kept(shop) == [] and shop.at_warehouse("select to_regclass('raw_goods.orders')") == [(None,)]
    assert "0.05" in str(_shop().errors_tolerated)
    shop.at_source('update orders set "amount %" = 1 where id = 11')
    assert _row(shop.pull(_shop()))["quarantined"] == 10


def test_a_rule_about_the_batch_stops_it_whole(shop: Pipeline) -> None:
    shop.at_source('update orders set "amount %" = -1 where id = 1')
    with pytest.raises(GateFailed):
        shop.pull(_shop(_stream() | {"min_rows": 201}))
    assert _kept(shop) == []


def test_rows_that_share_a_key_or_have_none_are_set_aside(pipeline: Pipeline) -> None:
    pipeline.at_source("create table t (a int, b text, v text)")
    pipeline.at_source("insert into t select i, 'x', i from generate_series(1, 50) i")
    pipeline.at_source("insert into t values (1, 'x', 'other'), (2, null, 'no key'), (null, 'x', 'no key')")
    stream = {
        "name": "t", "table": "public.t", "primary_key": ["a", "b"], "mode": "snapshot", "deletes": "snapshot",
        "columns": {"a": {"type": "integer"}, "b": {"type": "text"}, "v": {"type": "text"}},
    }  # fmt: skip
    goods = _shop(stream).model_copy(update={"reconcile": None})
    assert _row(pipeline.pull(goods), "t")["quarantined"] == 4
    assert pipeline.at_warehouse("select count(*), min(a) from raw_goods.t") == [(49, 2)]
    assert _row(pipeline.pull(goods), "t")["quarantined"] == 4
    assert pipeline.at_warehouse("select count(*) from ledger.quarantine where state = 'held'") == [(4,)]
    pipeline.at_warehouse("delete from raw_goods.t where a < 10")
    assert replayed(pipeline, goods)["t"].inserted == 8
    assert pipeline.at_warehouse("select count(*), min(a) from raw_goods.t") == [(49, 2)]


def test_what_refers_to_a_row_in_quarantine_goes_and_comes_back_with_it(pipeline: Pipeline) -> None:
    pipeline.at_source("create table people (id int primary key, mail text)")
    pipeline.at_source("create table bills (id int primary key, person int)")
    pipeline.at_source("create table lines (id int primary key, bill int)")
    pipeline.at_source("insert into people select i, 'm' from generate_series(1, 40) i")
    pipeline.at_source("insert into bills select i, i from generate_series(1, 40) i")
    pipeline.at_source("insert into lines select i, 1 + i % 40 from generate_series(1, 80) i")
    pipeline.at_source("update people set mail = null where id = 7")

    def stream(name: str, *references: dict[str, Any], **columns: Any) -> dict[str, Any]:
        return {
            "name": name, "table": f"public.{name}", "primary_key": ["id"], "mode": "snapshot", "deletes": "snapshot",
            "columns": {"id": {"type": "integer"}, **columns}, "references": list(references),
        }  # fmt: skip

    goods = _shop(
        stream("people", mail={"type": "text", "not_null": True}),
        stream("bills", {"columns": ["person"], "stream": "people"}, person={"type": "integer"}),
        stream("lines", {"columns": ["bill"], "stream": "bills"}, bill={"type": "integer"}),
    )
    published = pipeline.pull(goods)
    assert [(row["stream"], row["quarantined"]) for row in published.streams] == [
        ("bills", 1), ("lines", 2), ("people", 1),
    ]  # fmt: skip
    pipeline.at_source("update people set mail = 'm' where id = 7")
    published = pipeline.pull(goods)
    assert sum(row["quarantined"] for row in published.streams) == 0
    assert [pipeline.at_warehouse(f"select count(*) from raw_goods.{name}") for name in ("people", "bills", "lines")] == [
        [(40,)], [(40,)], [(80,)],
    ]  # fmt: skip
    # an update of a person that is bad leaves the one that raw has, so nothing hangs in the air
    pipeline.at_source("update people set mail = null where id = 8")
    published = pipeline.pull(goods)
    assert sum(row["quarantined"] for row in published.streams) == 1


def test_steps_that_are_repeated_set_aside_the_same(shop: Pipeline) -> None:
    shop.at_source('update orders set "amount %" = -1 where id in (3, 4)')
    run = shop.run(_shop())
    load_id = extract.extract(run, Interval(None, datetime.now(timezone.utc))).load_id
    for _again in range(2):
        load.stage(run, load_id, "orders")
        load.audit(run, load_id, "orders")
        load.audit(run, load_id, "orders")
    publish.publish(run, load_id)
    assert _row(publish.publish(run, load_id))["quarantined"] == 2
    publish.balance(run, load_id)
    assert len(_kept(shop)) == 2
    staging = "select count(*) from pg_class where relnamespace = 'staging_batches'::regnamespace and relkind in ('r', 'v')"
    assert shop.at_warehouse(staging) == [(0,)]


def test_a_suite_written_by_hand_sets_rows_aside_too(
    shop: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "raw_goods").mkdir()
    (tmp_path / "raw_goods" / "orders.py").write_text(
        "import great_expectations.expectations as gxe\n"
        "def expectations():\n"
        "    return [gxe.ExpectColumnValuesToNotMatchRegex(column='odd \"name\"'.replace('odd \"name\"', 'customer'),"
        " regex='100%%|^c4$', severity='critical'), gxe.ExpectColumnValuesToBeBetween(column='amount %', max_value=198,"
        " severity='warning')]\n"
    )
    monkeypatch.setenv("MILLRACE_SUITES", str(tmp_path))
    row = _row(shop.pull(_shop().model_copy(update={"errors_tolerated": 0.5})))
    assert row["quarantined"] == 40  # c4, and not those of which it is only warned
    assert {failure["severity"] for failure in row["failures"]} == {"quarantine", "warning"}


def test_rows_that_wait_for_too_long_are_told_of(shop: Pipeline) -> None:
    shop.at_source('update orders set "amount %" = -1 where id = 3')
    shop.pull(_shop())
    shop.at_warehouse("update ledger.quarantine set first_at = now() - interval '31 days'")
    with pytest.raises(GateFailed, match="quarantine for too long"):
        shop.pull(_shop())
    shop.at_source("update orders set customer = 'c9' where id = 5")
    with pytest.raises(GateFailed):
        shop.pull(_shop())
    assert _raw(shop, "id = 5") == [(5, "c9", 5)]  # what is good is published all the same


def _image(shop: Pipeline) -> list[tuple[Any, ...]]:
    return shop.at_warehouse("select r::text from raw_goods.orders r order by 1")
