"""Data that must not go on: stopped where it is found, told to those it concerns; corrected, everything flows again."""

from __future__ import annotations

import re

from tests.e2e.conftest import Demo
from tests.support.lifecycle import SHOP, Lifecycle, Run, until


def _published(lifecycle: Lifecycle) -> int:
    return int(lifecycle.value("warehouse", "select max(publication_id) from ledger.publication"))


def _runs_after(lifecycle: Lifecycle, dag_id: str, run: Run) -> list[str]:
    """The runs of a DAG that an asset event of another run started."""
    found = lifecycle.api.run_caused_by(dag_id, run.run_id)
    return [found["dag_run_id"]] if found else []


def _is_told(lifecycle: Lifecycle, run: Run, task: str, *what: str) -> None:
    """What broke, since when, who is hurt, what to do, and a link that leads to the log."""
    alert = lifecycle.alert_of(run, f"failed at {task}")
    for text in (
        "What broke:",
        "Since:       the last good state is of 2",
        "Affected:",
        "What to do:",
        *what,
    ):
        assert text in alert, (text, alert)
    (link,) = re.findall(r"^ +Log: +(\S+)$", alert, re.MULTILINE)
    assert link.startswith(f"{lifecycle.stack.url}/dags/{run.dag_id}/runs/")


def test_a_contract_with_faults_fails_when_its_pipeline_was_due(lifecycle: Lifecycle) -> None:
    """By itself: nobody who has deployed a wrong line would ask for a run of it."""
    lines = (lifecycle.contracts / "sources" / "shop.yaml").read_text().splitlines()
    wrong = next(number for number, line in enumerate(lines) if line.startswith("description:"))
    lines[wrong] = lines[wrong].replace("description", "descriptoin")
    lines[lines.index("source: shop")] = "source: misspelt"
    file = lifecycle.contracts / "sources" / "misspelt.yaml"
    file.write_text("\n".join(lines))
    try:
        dag_id = "ingest__misspelt"
        until(lambda: dag_id in lifecycle.api.dag_ids(), f"{dag_id} to appear")
        found = until(lambda: lifecycle.api.runs(dag_id), f"{dag_id} to be started by its schedule")
        red = lifecycle.ended(Run(dag_id, found[0]["dag_run_id"]))
        alert = lifecycle.alert_of(red, "failed at read_contract")
    finally:
        file.unlink()
    assert (red.state, found[0]["run_type"], len(found)) == ("failed", "scheduled", 1)
    for text in (
        f"misspelt.yaml:{wrong + 1}: descriptoin: unknown field; did you mean 'description'?",
        "shop-backend@example.com",
        "millrace contract check",
    ):
        assert text in alert, (text, alert)


def test_marts_that_break_a_rule_are_seen_by_nobody(first_demo: Demo, lifecycle: Lifecycle) -> None:
    """A customer who left before signing up: each row is fine for the contract, the mart's suite finds it."""
    leaver = "select min(customer_id) from shop.customers where deleted_at is null and status = 'active'"
    customer = lifecycle.value(SHOP, leaver)
    publication, seen = _published(lifecycle), "select * from marts.dim_customers where customer_id = %s"
    before, sent = lifecycle.at("warehouse", seen, customer), _deliveries(lifecycle)
    lifecycle.at(
        SHOP,
        "update shop.customers set deleted_at = created_at - interval '1 day' where customer_id = %s",
        customer,
    )

    ingest = lifecycle.done("ingest__shop")
    assert ingest.state == "success"
    red = lifecycle.caused("transform__shop", ingest)
    assert red.state == "failed"
    assert lifecycle.task(red, "gate", "marts.dim_customers")["state"] == "failed"
    assert lifecycle.task(red, "publish")["state"] == "upstream_failed"
    log = lifecycle.log(red, "gate", "marts.dim_customers")
    assert "a customer is live until the day of leaving, which comes after signing up" in log
    assert re.search(rf"\{{.*'customer_id': {customer}\b.*\}}", log)
    _is_told(
        lifecycle,
        red,
        "gate[marts.dim_customers]",
        "a customer is live until the day of leaving",
        "marts of shop",
    )
    assert _published(lifecycle) == publication
    assert lifecycle.at("warehouse", seen, customer) == before
    assert not any(_runs_after(lifecycle, f"activate__{sync}", red) for sync in lifecycle.syncs())
    assert _deliveries(lifecycle) == sent

    lifecycle.at(SHOP, "update shop.customers set deleted_at = null where customer_id = %s", customer)


def test_a_negative_price_gets_no_further_than_the_audit(first_demo: Demo, lifecycle: Lifecycle) -> None:
    """Once it is corrected everything flows again: with it what the test before this one has corrected."""
    good = lifecycle.value(
        "warehouse", "select array_agg(p::text order by product_id) from raw_shop.products as p"
    )
    marks, publication = lifecycle.watermarks(SHOP), _published(lifecycle)
    customer, price = 7, lifecycle.value(SHOP, "select price from shop.products where product_id = 1")
    lifecycle.at(SHOP, "update shop.products set price = -5 where product_id = 1")
    lifecycle.at(SHOP, "update shop.customers set phone = '112' where customer_id = %s", customer)

    failed = lifecycle.done("ingest__shop")
    assert failed.state == "failed"
    states = lifecycle.states(failed)
    assert (states["extract"], states["publish"], states["close"]) == (
        {"success"},
        {"upstream_failed"},
        {"success"},
    )
    assert lifecycle.task(failed, "audit", "products")["state"] == "failed"
    log = lifecycle.log(failed, "audit", "products")
    assert "price is between 0.0 and ∞: 1 of " in log
    assert re.search(r"\{.*'product_id': 1\b.*\}", log)
    _is_told(
        lifecycle, failed, "audit[", "_products: FAILED", "price is between 0.0 and ∞",
        "raw tables raw_shop (consumers: data-team@", "marts of shop (consumers: finance@",
        "sync crm_contacts to crm (consumers: sales-ops@",
    )  # fmt: skip
    # stop_source: the customer's change is held back as well
    assert good == lifecycle.value(
        "warehouse", "select array_agg(p::text order by product_id) from raw_shop.products as p"
    )
    assert lifecycle.watermarks(SHOP) == marks
    assert _runs_after(lifecycle, "transform__shop", failed) == []
    assert _published(lifecycle) == publication

    lifecycle.at(SHOP, "update shop.products set price = %s where product_id = 1", price)
    # as the runbook says: clear the run
    assert lifecycle.clear(failed).state == "success"
    assert {run.state for run in lifecycle.through(failed)} == {"success"}
    assert _published(lifecycle) > publication
    lifecycle.everything_agrees()
    assert (
        lifecycle.value("warehouse", "select phone from raw_shop.customers where customer_id = %s", customer)
        == "112"
    )


def test_a_null_key_holds_back_its_stream_and_no_other(depot: str, lifecycle: Lifecycle) -> None:
    assert lifecycle.done("ingest__depot").state == "success"
    good = lifecycle.at("warehouse", "select * from raw_depot.readings order by 1")
    lifecycle.at(depot, "insert into depot.readings values (null, 3)")
    lifecycle.at(depot, "update depot.items set price = 77, updated_at = now() where item_id = 3")

    red = lifecycle.done("ingest__depot")
    assert red.state == "failed"  # part of it is missing, and it says so
    assert lifecycle.task(red, "audit", "readings")["state"] == "failed"
    assert lifecycle.task(red, "publish")["state"] == "success"
    assert {name: row["status"] for name, row in lifecycle.ledger(red).items()} == {
        "items": "published",
        "readings": "rejected",
    }
    _is_told(lifecycle, red, "audit[readings]", "primary key reading_id is not null", "keeper@example.com")
    assert lifecycle.at("warehouse", "select * from raw_depot.readings order by 1") == good
    assert lifecycle.value("warehouse", "select price from raw_depot.items where item_id = 3") == 77

    lifecycle.at(depot, "delete from depot.readings where reading_id is null")
    lifecycle.at(depot, "insert into depot.readings values (9001, 4)")
    assert lifecycle.clear(red).state == "success"
    assert lifecycle.unequal(depot) == []
    assert lifecycle.books() == []


def test_a_row_that_was_damaged_in_raw_is_told_by_its_key(depot: str, lifecycle: Lifecycle) -> None:
    """An increment does not see it: only the comparison with the source does, which anybody can ask for."""
    assert lifecycle.done("ingest__depot").state == "success"
    lifecycle.at("warehouse", "update raw_depot.items set price = 0.01 where item_id = 321")
    assert lifecycle.done("ingest__depot").state == "success"
    red = lifecycle.done("ingest__depot", compare=True)
    assert red.state == "failed"
    _is_told(lifecycle, red, "balance", "key (item_id) (321): other values in raw", "full_refresh")
    again = lifecycle.done("ingest__depot", compare=True, full_refresh=True)
    assert again.state == "success", lifecycle.states(again)
    assert "compared with the source: items: " in lifecycle.log(again, "balance")
    assert lifecycle.unequal(depot) == []


def _deliveries(lifecycle: Lifecycle) -> int:
    return int(lifecycle.value("warehouse", "select count(*) from ledger.sync_run"))
