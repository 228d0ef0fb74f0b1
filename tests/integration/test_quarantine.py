"""Rows that break a rule are set aside, the others are published, and nothing is lost or forgotten."""

from __future__ import annotations

from typing import Any

import pytest

from include.core.contracts import SourceContract
from include.core.errors import GateFailed
from include.flows.publish import Published
from include.flows.replay import Replay
from include.flows.replay_plan import Scope
from tests.support.pipeline import Pipeline, contract

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
        "goods", list(streams) or [_stream()], on_bad_rows="quarantine", errors_tolerated=0.05, reconcile="0s", **fields
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
    return shop.at_warehouse("select key ->> 'id', state, rules from ledger.quarantine order by quarantine_id")


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
        ("3", "held", ["customer matches ^c[0-9]$", "amount % is between 0 and ∞"]),
        ("4", "held", ['odd "name" is not null']),
    ] or sorted(rule for _, _, rules in _kept(shop) for rule in rules) == [
        "amount % is between 0.0 and ∞", "customer matches ^c[0-9]$", 'odd "name" is not null',
    ]
