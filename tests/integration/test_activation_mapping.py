"""What a field can be filled with: constants, templates, casts and nested JSON, all rendered by the warehouse."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from include import activation
from include.core.errors import TerminalError
from tests.support.activation import Crm, Warehouse, contract, crm, http_contract, warehouse

MODEL = """
    select 'c1' as external_id, 'Ada' as first_name, 'Love%lace' as "Last ""Name", 12.50::numeric as value, '7' as age,
        'yes' as agreed, timestamptz '2026-03-01 23:30+01' as seen, 9007199254740993::bigint as big
    union all select 'c2', 'Bo', null, 1.0, '8', 'no', null, 2
    union all select 'c3', null, null, null, null, null, null, null
"""
MAPPING: dict[str, Any] = {
    "external_id": "external_id",
    "name": {"template": '{{{first_name} {Last "Name}}} 100%'},
    "source": {"value": "shop's 100% {sure}"},
    "score": {"value": 1.5},
    "live": {"value": True},
    "address.person.first": "first_name",
    "address.person.value": "value",
    "address.day": {"column": "seen", "type": "date"},
    "age": {"column": "age", "type": "integer"},
    "agreed": {"column": "agreed", "type": "boolean"},
    "price": {"column": "value", "type": "number"},
    "priced": {"column": "value", "type": "text"},
    "seen": {"column": "seen", "type": "timestamp"},
    "big": "big",
}


@pytest.fixture
def source(database: Callable[..., str]) -> Warehouse:
    made = warehouse(database("warehouse"))
    made.publish(MODEL)
    return made


@pytest.fixture
def target(database: Callable[..., str]) -> Crm:
    return crm(database("crm"))


def bodies(source: Warehouse, **mapping: Any) -> dict[str, dict[str, Any]]:
    plan = activation.plan(http_contract(mapping=MAPPING | mapping), source.connection)
    return {change.key: json.loads(change.body) for change in plan.samples}


def test_each_kind_of_field(source: Warehouse) -> None:
    found = bodies(source)
    assert found["c1"] == {
        "external_id": "c1",
        "name": "{Ada Love%lace} 100%",
        "source": "shop's 100% {sure}",
        "score": 1.5,
        "live": True,
        "address": {"person": {"first": "Ada", "value": "12.50"}, "day": "2026-03-01"},
        "age": 7,
        "agreed": True,
        "price": 12.5,
        "priced": "12.50",
        "seen": "2026-03-01T22:30:00+00:00",
        "big": "9007199254740993",
    }
    # A column without a value leaves nothing behind; where all are without, there is no text.
    assert found["c2"]["name"] == "{Bo } 100%"
    assert found["c3"]["name"] is None
    assert found["c3"]["address"] == {"person": {"first": None, "value": None}, "day": None}


def test_a_constant_is_a_part_of_the_record(source: Warehouse, target: Crm) -> None:
    def mapped(segment: str) -> Any:
        mapping = {"external_id": "external_id", "segment": {"value": segment}}
        return contract(mapping=mapping)

    for segment, delivered in (("it's", 3), ("it's", 0), ("%s", 3)):
        report = activation.run(mapped(segment), source.connection, target.connection, run_id="test")
        assert report.delivered == delivered
        assert target.execute("select distinct segment from crm.contacts") == [(segment,)]


@pytest.mark.parametrize(
    "cast", [{"column": "first_name", "type": "number"}, {"column": "value", "type": "timestamp"}]
)
def test_what_cannot_be_cast_stops_before_anything_is_sent(source: Warehouse, cast: dict[str, str]) -> None:
    with pytest.raises(TerminalError, match="cannot become what the mapping says") as stopped:
        bodies(source, age=cast)
    assert "Ada" not in str(stopped.value)
    assert f"age: {cast['column']} as {cast['type']}" in stopped.value.allowed
