"""The suites of raw batches, marts and activation models, run by Great Expectations on real tables."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from include.core.connection import Connection, parse_connection
from include.quality.gate import Verdict, audit
from include.quality.suites import suites_folder, written
from tests.dbt.conftest import Warehouse

BUILT = {"marts": "marts_candidate", "activation": "activation_candidate", "raw_shop": "raw_shop"}
SUITES = [
    (path.parent.name, path.stem)
    for schema in BUILT
    for path in sorted(suites_folder().glob(f"{schema}/*.py"))
]


@pytest.fixture
def connection(candidate: Warehouse) -> Connection:
    return parse_connection("warehouse", candidate.superuser)


def check(connection: Connection, schema: str, table: str, place: str | None = None) -> Verdict:
    return audit(connection, place or BUILT[schema], table, written(schema, table))


def test_every_mart_and_activation_model_has_a_suite(candidate: Warehouse) -> None:
    manifest = json.loads((candidate.work / "target" / "manifest.json").read_text())
    models = {
        (node["fqn"][1], node["name"])
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model" and node["fqn"][1] in ("marts", "activation")
    }
    assert models == {suite for suite in SUITES if suite[0] != "raw_shop"}


@pytest.mark.parametrize(("schema", "table"), SUITES)
def test_every_expectation_says_how_grave_it_is_and_why(schema: str, table: str) -> None:
    for expectation in written(schema, table):
        assert expectation.severity in ("critical", "warning")
        assert expectation.description
        assert (expectation.meta or {}).get("why")


@pytest.mark.parametrize(("schema", "table"), SUITES)
def test_a_good_table_meets_its_suite(connection: Connection, schema: str, table: str) -> None:
    verdict = check(connection, schema, table)
    assert not verdict.failures, str(verdict)


@pytest.mark.parametrize("table", [table for schema, table in SUITES if schema == "raw_shop"])
def test_an_empty_increment_is_no_failure(candidate: Warehouse, connection: Connection, table: str) -> None:
    candidate.execute(
        f"create schema if not exists empty; create table empty.{table} (like raw_shop.{table})"
    )
    verdict = check(connection, "raw_shop", table, "empty")
    assert not verdict.failures, str(verdict)


@pytest.mark.parametrize(
    ("schema", "table", "change", "rule"),
    [
        ("raw_shop", "products", "set price = -price where product_id = 1", "prices are 0 to 100 000 euros"),
        (
            "raw_shop",
            "orders",
            "set order_total = 1 where order_id = 2",
            "an order costs its items less the discount",
        ),
        (
            "raw_shop",
            "order_items",
            "set line_total = line_total + 0.01 where order_id = 3",
            "a line's total is quantity times price",
        ),
        (
            "marts",
            "fct_daily_revenue",
            "set revenue_date = '2190-01-01' where revenue_date = '2026-01-01'",
            "the calendar has no gaps",
        ),
        (
            "marts",
            "fct_orders",
            "set net_revenue_eur = net_revenue_eur + 1 where order_id = 3",
            "net revenue is gross less refunds, and 0 for orders that do not count",
        ),
        (
            "marts",
            "customer_value",
            "set orders = 0 where customer_id = (select min(customer_id) from {} where orders > 0)",
            "prospects, and only they, have no orders, no dates and no value",
        ),
        (
            "activation",
            "activation_crm_contacts",
            "set segment = 'whale' where external_id = '1'",
            "the segment is one that the CRM knows",
        ),
    ],
)
def test_a_bad_row_fails_its_rule_and_no_other(
    connection: Connection,
    changed: Callable[[str, str], None],
    schema: str,
    table: str,
    change: str,
    rule: str,
) -> None:
    relation = f"{BUILT[schema]}.{table}"
    changed(relation, f"update {relation} {change.format(relation)}")
    verdict = check(connection, schema, table)
    assert not verdict.passed
    assert [failure.rule for failure in verdict.failures] == [rule]
