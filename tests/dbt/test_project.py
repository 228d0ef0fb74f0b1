"""The dbt project against a real warehouse: it builds, explains itself, and keeps developers apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.dbt.conftest import Warehouse

CONSUMED = ("marts", "activation")


def nodes(warehouse: Warehouse, kind: str = "model") -> list[dict[str, Any]]:
    manifest = json.loads((warehouse.work / "target" / "manifest.json").read_text())
    section = {"source": "sources", "exposure": "exposures"}.get(kind, "nodes")
    return [node for node in manifest[section].values() if node["resource_type"] == kind]


def test_it_parses_without_a_warning(warehouse: Warehouse, tmp_path: Path) -> None:
    # away from the manifest of the candidate, which others look into
    parsed = warehouse.dbt("parse", "--no-partial-parse", "--target-path", str(tmp_path))
    assert parsed.returncode == 0, parsed.stdout


def test_a_whole_build_passes_and_revenue_is_the_shop_s_own(candidate: Warehouse) -> None:
    # recomputed from the source by another route
    (expected,) = Warehouse(candidate.shop, candidate.shop, candidate.work).query(
        "select sum(round(order_total * exchange_rate, 2) - round(back * exchange_rate, 2))"
        " from shop.orders as o"
        " cross join lateral (select coalesce(sum(r.amount), 0) as back from shop.payments as p"
        " join shop.refunds as r using (payment_id) where p.order_id = o.order_id) as b"
        " where status not in ('pending', 'cancelled')"
    )
    assert candidate.query("select sum(net_revenue_eur) from marts_candidate.fct_daily_revenue") == [expected]
    live = "select count(*) from raw_shop.customers where deleted_at is null and _deleted_at is null"
    assert candidate.query(
        "select count(*) from activation_candidate.activation_crm_contacts"
    ) == candidate.query(live)
    segments = candidate.query("select distinct segment from marts_candidate.customer_value")
    assert {name for (name,) in segments} == {
        "prospect",
        "champion",
        "loyal",
        "new",
        "active",
        "at_risk",
        "lost",
    }


def test_every_column_of_every_model_and_source_is_documented(candidate: Warehouse) -> None:
    for node in [*nodes(candidate), *nodes(candidate, "source")]:
        relation = f"{node['schema']}.{node['name']}"
        columns = {
            name
            for (name,) in candidate.query(
                "select column_name from information_schema.columns"
                f" where table_schema = '{node['schema']}' and table_name = '{node['name']}'"
            )
        }
        described = {name for name, column in node["columns"].items() if column["description"].strip()}
        assert described == columns, relation
        assert node["description"].startswith("One row per "), relation
        assert node["config"]["meta"].get("owner"), relation


def test_what_consumers_read_is_a_table_with_an_enforced_contract_and_an_owner(candidate: Warehouse) -> None:
    consumed = [node for node in nodes(candidate) if node["fqn"][1] in CONSUMED]
    assert {node["fqn"][1] for node in consumed} == set(CONSUMED)
    for node in consumed:
        assert node["config"]["contract"]["enforced"], node["name"]
        assert node["config"]["access"] == "public", node["name"]
        assert node["config"]["group"] == "shop_analytics", node["name"]
    kinds = candidate.query(
        "select c.relkind, count(*) from pg_class as c join pg_namespace as n on n.oid = c.relnamespace"
        " where nspname in ('marts_candidate', 'activation_candidate') and relkind <> 'i' group by relkind"
    )
    assert kinds == [("r", len(consumed))]
    # their own schemas may be renamed: no view looks into them
    assert not candidate.query(
        "select distinct v.oid::regclass from pg_depend as d join pg_rewrite as r on r.oid = d.objid"
        " join pg_class as v on v.oid = r.ev_class join pg_class as c on c.oid = d.refobjid"
        " join pg_namespace as n on n.oid = c.relnamespace"
        " where nspname in ('marts_candidate', 'activation_candidate') and c.oid <> v.oid"
    )


def test_marts_identify_nobody_and_only_activation_carries_addresses(candidate: Warehouse) -> None:
    columns = {
        (node["fqn"][1], node["name"], name): bool(column["config"]["meta"].get("pii"))
        for node in nodes(candidate)
        for name, column in node["columns"].items()
    }
    personal = {name for (layer, _, name), marked in columns.items() if marked and layer == "staging"}
    assert {"email", "full_name", "phone_number", "birth_date"} <= personal
    assert not [
        column for column, marked in columns.items() if marked and column[0] in ("marts", "intermediate")
    ]
    # what is personal stays so under its name wherever it goes; the first name is a part of it
    personal |= {"first_name"}
    assert not [column for column, marked in columns.items() if column[2] in personal and not marked]
    assert {"email", "full_name", "first_name"} <= {
        name for layer, _, name in columns if layer == "activation"
    }


def test_each_sync_has_an_exposure(candidate: Warehouse) -> None:
    exposures = {node["name"]: node for node in nodes(candidate, "exposure")}
    activated = {node["unique_id"] for node in nodes(candidate) if node["fqn"][1] == "activation"}
    syncs = {name: node for name, node in exposures.items() if name.startswith("activate__")}
    assert {up for node in syncs.values() for up in node["depends_on"]["nodes"]} == activated
    assert any(node["type"] == "dashboard" for node in exposures.values())


def test_sources_are_fresh_after_a_load_and_late_two_days_later(
    candidate: Warehouse, changed: Callable[[str, str], None]
) -> None:
    assert candidate.dbt("source", "freshness").returncode == 0
    changed("raw_shop.orders", "update raw_shop.orders set _loaded_at = _loaded_at - interval '3 days'")
    late = candidate.dbt("source", "freshness")
    assert late.returncode != 0
    assert "ERROR STALE freshness of shop.orders" in late.stdout


def prod_relations(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    return warehouse.query(
        "select n.nspname, c.relname, c.oid, c.relfilenode, c.xmin::text from pg_class as c"
        " join pg_namespace as n on n.oid = c.relnamespace"
        " where nspname !~ '^(dev_|pg_)' and nspname <> 'information_schema' order by 3"
    )


def test_a_developer_builds_a_part_in_own_schemas_and_touches_nothing_else(candidate: Warehouse) -> None:
    before = prod_relations(candidate)
    built = candidate.dbt("build", "--select", "+fct_orders", developer="Ben.O'Neill")
    assert built.returncode == 0, built.stdout
    assert prod_relations(candidate) == before
    mine = candidate.query(
        "select schema_name from information_schema.schemata where schema_name like 'dev_ben%' order by 1"
    )
    assert mine == [
        ("dev_ben_o_neill_intermediate",),
        ("dev_ben_o_neill_marts",),
        ("dev_ben_o_neill_staging",),
    ]
    same = "select count(*), sum(net_revenue_eur) from {}.fct_orders"
    assert candidate.query(same.format("dev_ben_o_neill_marts")) == candidate.query(
        same.format("marts_candidate")
    )


@pytest.mark.parametrize(
    ("relation", "change", "failing"),
    [
        pytest.param(
            "raw_shop.refunds",
            "set amount = amount + 100000 where refund_id = 1",
            "assert_refunds_do_not_exceed_payments",
            id="refund above payment",
        ),
        pytest.param(
            "raw_shop.orders",
            "set status = 'lost_in_space' where order_id = 1",
            "accepted_values_stg_shop__orders_order_status",
            id="unknown status",
        ),
        pytest.param(
            "raw_shop.order_items",
            "set line_total = line_total + 1 where order_id < 500",
            "assert_order_totals_follow_from_their_lines",
            id="totals that do not add up",
        ),
    ],
)
def test_a_broken_rule_fails_the_build(
    candidate: Warehouse, changed: Callable[[str, str], None], relation: str, change: str, failing: str
) -> None:
    changed(relation, f"update {relation} {change}")
    built = candidate.dbt(
        "build", "--select", "+fct_orders", "+fct_order_items", "--exclude-resource-type", "unit_test"
    )
    assert built.returncode != 0
    assert failing in built.stdout
