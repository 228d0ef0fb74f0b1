"""`millrace demo` from the shop to CRM and contacts API: the first time everything, every later time what changed."""

from __future__ import annotations

import json
import re
from collections import defaultdict

from include.demo.shop import TABLES
from include.stack.home import PROJECT_ROOT
from tests.e2e.conftest import Demo
from tests.support.lifecycle import SHOP, Lifecycle, Run

#: Where the ledger counts what the traffic counts.
_SAME = {"inserted": "inserted", "updated": "updated", "deleted": "deleted"}


def test_the_first_demo_loads_everything_and_says_so(first_demo: Demo, lifecycle: Lifecycle) -> None:
    said = first_demo.result.stdout
    assert first_demo.result.returncode == 0, said + first_demo.result.stderr
    assert "traffic in the shop" not in said
    for table in TABLES:
        (line,) = re.findall(rf"^shop +{table} .*$", said, re.MULTILINE)
        _, _, _, status, extracted, landed, staged, inserted, *_, books = line.split()
        rows = f"{lifecycle.value(SHOP, f'select count(*) from shop.{table}'):,}"
        assert (status, books) == ("published", "balance")
        assert (extracted, landed, staged, inserted) == (rows,) * 4
    models, consumed = _models()
    assert f"gate         {consumed} of {consumed} tables passed" in said
    assert "the books    balance" in said
    assert re.search(rf"dbt +{models} models success, \d+ tests pass", said)
    assert f"the UI: {lifecycle.stack.url}  user: admin  password: AIRFLOW_ADMIN_PASSWORD in " in said
    assert re.search(r"\d+ seconds in all", said)
    assert lifecycle.stack.admin_password not in said
    assert first_demo.alerts == []


def test_after_the_first_demo_every_place_holds_the_same(first_demo: Demo, lifecycle: Lifecycle) -> None:
    lifecycle.everything_agrees()
    assert lifecycle.value("crm", "select count(*) from crm.contacts") > 1000
    assert len(lifecycle.contacts()) > 1000
    assert lifecycle.value("warehouse", "select count(*) from marts.fct_orders") == lifecycle.value(
        SHOP, "select count(*) from shop.orders"
    )


def test_the_second_demo_moves_what_the_traffic_changed(first_demo: Demo, lifecycle: Lifecycle) -> None:
    again = _stamped_since_the_watermark(lifecycle)
    contacts = lifecycle.value("crm", "select count(*) from crm.contacts")
    second = lifecycle.stack.millrace("demo", "--transactions", "300", timeout=600)
    assert second.returncode == 0, second.stdout + second.stderr
    touched = _traffic(second.stdout)
    assert touched["deleted"]["order_items"] > 0  # hard deletes: no cursor sees them

    ledger = lifecycle.ledger(Run("ingest__shop", _ingest_run(second.stdout)))
    assert set(ledger) == set(TABLES)
    for table, figures in ledger.items():
        for counted in _SAME:
            assert figures[counted] <= touched[counted][table], (table, counted)
        if table != "categories":  # it has no cursor: all its few rows are read
            changed = touched["inserted"][table] + touched["updated"][table]
            assert figures["extracted"] <= changed + again[table], table
    lifecycle.everything_agrees()
    new = lifecycle.value("crm", "select count(*) from crm.contacts") - contacts
    assert 0 < new <= touched["inserted"]["customers"]
    tombstones = lifecycle.value(
        "warehouse", "select count(*) from raw_shop.order_items where _deleted_at is not null"
    )
    assert tombstones >= ledger["order_items"]["deleted"] > 0


def test_the_rest_of_a_clone_is_told_what_failed(first_demo: Demo, lifecycle: Lifecycle) -> None:
    """Exit code, failing task and the end of its log, when the shop changes its shape behind the contract's back.

    The column is one that no traffic writes: the shop itself goes on.
    """
    lifecycle.at(SHOP, "alter table shop.products rename column cost to landed_cost")
    try:
        failed = lifecycle.stack.millrace("demo", "--transactions", "5", timeout=600)
    finally:
        lifecycle.at(SHOP, "alter table shop.products rename column landed_cost to cost")
    assert failed.returncode == 1, failed.stdout
    assert "ingest__shop failed" in failed.stderr
    assert "extract, last lines of its log:" in failed.stderr
    assert "column 'cost'" in failed.stderr
    assert "what happened" not in failed.stdout
    run = Run("ingest__shop", _ingest_run(failed.stdout))
    assert "column 'cost'" in lifecycle.alert_of(run, "failed at extract")


def test_a_demo_whose_dag_is_paused_says_so_instead_of_waiting(
    first_demo: Demo, lifecycle: Lifecycle
) -> None:
    place = "/api/v2/dags/activate__contacts_api"
    lifecycle.api.call("PATCH", place, json={"is_paused": True})
    try:
        stopped = lifecycle.stack.millrace("demo", timeout=120)
    finally:
        lifecycle.api.call("PATCH", place, json={"is_paused": False})
    assert stopped.returncode == 1
    assert "a paused DAG runs nothing" in stopped.stderr and "activate__contacts_api" in stopped.stderr
    assert "traffic" not in stopped.stdout


def _models() -> tuple[int, int]:
    """How many models dbt's manifest has, and how many of them consumers see."""
    manifest = json.loads((PROJECT_ROOT / "dbt_project" / "target" / "manifest.json").read_text())
    layers = [node["fqn"][1] for node in manifest["nodes"].values() if node["resource_type"] == "model"]
    return len(layers), sum(layer in ("marts", "activation") for layer in layers)


def _ingest_run(said: str) -> str:
    (run_id,) = re.findall(r"^ingest__shop  (\S+)$", said, re.MULTILINE)
    return str(run_id)


def _traffic(said: str) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for what in _SAME:
        (line,) = re.findall(rf"^  {what} +(.*)$", said, re.MULTILINE)
        found[what] = defaultdict(int) | {
            table: int(rows) for table, rows in re.findall(r"(\w+) (\d+)", line)
        }
    return found


def _stamped_since_the_watermark(lifecycle: Lifecycle) -> dict[str, int]:
    """The rows that the next run reads again, by stream, though they have not changed."""
    found = {}
    for stream in lifecycle.contract(SHOP).streams:
        watermark = lifecycle.watermarks(SHOP)[stream.name]
        if stream.cursor and watermark:
            query = f"select count(*) from {stream.table} where {stream.cursor} >= %s"
            found[stream.name] = lifecycle.value(SHOP, query, watermark)
    return found
