"""Types of a MariaDB that change after they were loaded, and what becomes of raw."""

from __future__ import annotations

from typing import Any

import pytest

from include.core.contracts import SourceContract
from include.core.errors import SchemaChanged
from tests.support.mariadb import MariaDB
from tests.support.pipeline import Pipeline, contract

TYPES = {
    "id": "int(11)",
    "small": "int(10) unsigned",
    "amount": "decimal(10,2)",
    "label": "varchar(20)",
    "state": "enum('new','paid')",
    "seen": "datetime",
}
EVOLVE = {"widened": "evolve", "narrowed": "evolve"}


@pytest.fixture
def goods(from_maria: Pipeline, maria: MariaDB) -> Pipeline:
    columns = ", ".join(f"{name} {kind}" for name, kind in TYPES.items())
    maria.run(
        f"create table shop.goods ({columns}, primary key (id))",
        "insert into shop.goods select seq, seq, seq / 8, concat('g', seq), 'new', '2026-01-02 03:04:05'"
        " from shop.seq_1_to_300",
    )
    return from_maria


def store(**answers: Any) -> SourceContract:
    stream = {
        "name": "goods",
        "table": "shop.goods",
        "mode": "snapshot",
        "deletes": "snapshot",
        "primary_key": ["id"],
        "columns": {name: {"type": kind} for name, kind in TYPES.items()},
    }
    return contract("store", [stream], kind="mysql", on_schema_change=answers or "stop")


def raw(pipeline: Pipeline) -> dict[str, str]:
    rows = pipeline.at_warehouse(
        "select attname, format_type(atttypid, atttypmod) from pg_attribute"
        " where attrelid = 'raw_store.goods'::regclass and attnum > 0 and not attname like '\\_%%'"
    )
    return dict(rows)


def test_wider_types_reach_raw(goods: Pipeline, maria: MariaDB) -> None:
    goods.pull(store(**EVOLVE))
    maria.run(
        "alter table shop.goods modify id bigint, modify small bigint unsigned, modify amount decimal(30,4),"
        " modify label mediumtext, modify state enum('paid','sent','new'), modify seen datetime(6)",
        "insert into shop.goods values (5000000000, 18446744073709551615, 12345678901234567890123456.7891,"
        " repeat('x', 70000), 'sent', '2026-01-02 03:04:05.678901')",
    )
    assert goods.pull(store(**EVOLVE)).changed == {
        "goods": 1
    }  # the others became what they are in the source
    assert raw(goods) == {
        "id": "bigint",
        "small": "numeric(20,0)",
        "amount": "numeric(30,4)",
        "label": "text",
        "state": "text",
        "seen": "timestamp without time zone",
    }
    kept = (
        "select concat_ws(' ', id, small, amount, length(label), state, seen) from raw_store.goods"
        " where id in (8, 5000000000) order by id"
    )
    assert goods.at_warehouse(kept) == [
        ("8 8 1.0000 2 new 2026-01-02 03:04:05",),
        (
            "5000000000 18446744073709551615 12345678901234567890123456.7891 70000 sent 2026-01-02 03:04:05.678901",
        ),
    ]


def test_narrower_types_leave_raw_as_wide_as_it_is(goods: Pipeline, maria: MariaDB) -> None:
    goods.pull(store(**EVOLVE))
    maria.run(
        "alter table shop.goods modify id smallint, modify amount decimal(8,2), modify state enum('new')",
        "update shop.goods set small = 9 where id = 4",
    )
    assert goods.pull(store(**EVOLVE)).changed == {"goods": 1}
    assert (raw(goods)["id"], raw(goods)["amount"]) == ("integer", "numeric(10,2)")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("modify id bigint", r"contract says int\(11\), source has bigint\(20\) \(widened\)"),
        ("modify label varchar(9)", r"source has varchar\(9\) \(narrowed\)"),
        ("modify amount decimal(10,3)", r"source has decimal\(10,3\) \(retyped\)"),
        ("modify small varchar(20)", r"source has varchar\(20\) \(retyped\)"),
    ],
)
def test_each_kind_is_told_and_freezes_unless_the_contract_answers_it(
    goods: Pipeline, maria: MariaDB, change: str, told: str
) -> None:
    goods.pull(store())
    maria.run(f"alter table shop.goods {change}")
    with pytest.raises(SchemaChanged, match=told):
        goods.pull(store())


def test_how_wide_a_number_is_shown_is_no_change(goods: Pipeline, maria: MariaDB) -> None:
    goods.pull(store())
    maria.run("alter table shop.goods modify small int(5) unsigned")
    assert goods.pull(store()).changed == {"goods": 0}
