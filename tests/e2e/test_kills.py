"""kill -9 in each step: the next attempt takes over by itself, and every row arrives once."""

from __future__ import annotations

from collections import Counter

import psycopg
import pytest

from tests.e2e.conftest import Demo
from tests.support.kills import ingest_held, kill, transform_held, waiting
from tests.support.lifecycle import SHOP, Lifecycle, Run, until


def _tries(lifecycle: Lifecycle, run: Run, task: str) -> int:
    return max(int(t["try_number"]) for t in lifecycle.tasks(run, task))


def test_an_ingest_survives_the_death_of_its_workers(depot: str, lifecycle: Lifecycle) -> None:
    """At the end of each step: of the task's process, of the worker above it, of both. Once also while it reads."""
    assert lifecycle.done("ingest__depot").state == "success"
    lifecycle.at(
        depot,
        "update depot.items set price = price * 2, updated_at = now() where item_id between 100 and 200",
    )
    lifecycle.at(depot, "delete from depot.items where item_id between 300 and 310")
    lifecycle.at(
        depot, "insert into depot.items select n, 'new', 1, now() from generate_series(6001, 6100) n"
    )
    lifecycle.at(depot, "insert into depot.readings select n, 1 from generate_series(7001, 7100) n")

    with ingest_held(lifecycle, depot) as holds:
        with psycopg.connect(lifecycle.stack.postgres.conninfo(depot)) as blocker:
            run = lifecycle.trigger("ingest__depot")  # before the lock: a run waits for older transactions
            blocker.execute("lock table depot.readings in access exclusive mode")
            waiting(lifecycle, depot, "relation")
            kill(lifecycle, run, "extract", worker=False, task=True)
        waiting(lifecycle, "warehouse", "advisory")
        kill(lifecycle, run, "extract", worker=True, task=True)
        holds.let_go("extract")
        # with the worker alone: its task goes on as if nothing had happened, beside the next attempt
        for step, worker, task in (("stage", False, True), ("audit", True, False), ("publish", True, True)):
            until(lambda step=step: "running" in lifecycle.states(run)[step], f"{step} to run")
            waiting(lifecycle, "warehouse", "advisory")
            kill(lifecycle, run, step, worker=worker, task=task)
            holds.let_go(step)
        assert lifecycle.ended(run).state == "success", lifecycle.states(run)

    assert {step: _tries(lifecycle, run, step) for step in ("extract", "stage", "audit", "publish")} == {
        "extract": 3, "stage": 2, "audit": 2, "publish": 2
    }  # fmt: skip
    assert lifecycle.unequal(depot) == []
    assert lifecycle.twice(depot) == []
    assert lifecycle.books() == []
    published = (
        "select count(*) from ledger.load where source = 'depot' and run_id = %s and status = 'published'"
    )
    assert lifecycle.value("warehouse", published, run.run_id) == 1
    assert not [
        text for text in lifecycle.alerts() if run.run_id in text and "failed" in text.splitlines()[0]
    ]


@pytest.mark.long
def test_a_delivery_survives_the_death_of_its_worker(first_demo: Demo, lifecycle: Lifecycle) -> None:
    """While the CRM takes its time over a batch; what it does with that batch later, nobody waits to see."""
    lifecycle.at(
        SHOP,
        "update shop.customers set full_name = full_name || ' the Elder' where customer_id between 50 and 90",
    )
    with psycopg.connect(lifecycle.stack.postgres.conninfo("crm")) as blocker:
        blocker.execute("lock table crm.contacts in share mode")
        ingest = lifecycle.trigger("ingest__shop")
        transform = lifecycle.caused("transform__shop", ingest)
        assert transform.state == "success"
        waiting(lifecycle, "crm", "relation")
        found = lifecycle.api.run_caused_by("activate__crm_contacts", transform.run_id)
        assert found is not None
        run = Run("activate__crm_contacts", found["dag_run_id"])
        kill(lifecycle, run, "deliver", worker=False, task=True)
        until(lambda: _tries(lifecycle, run, "deliver") == 2, "the next attempt")
    assert lifecycle.ended(run).state == "success"
    assert lifecycle.caused("activate__contacts_api", transform).state == "success"
    lifecycle.everything_agrees()
    elders = "select count(*) from crm.contacts where full_name like '%% the Elder'"
    assert lifecycle.value("crm", elders) == lifecycle.value(
        "warehouse",
        "select count(*) from activation.activation_crm_contacts where full_name like '%% the Elder'",
    )
    assert lifecycle.value("crm", "select count(*) - count(distinct external_id) from crm.contacts") == 0


@pytest.mark.long
def test_a_transform_survives_the_death_of_its_workers_and_can_be_cleared(
    first_demo: Demo, lifecycle: Lifecycle
) -> None:
    """Of a model, of a gate, and of the publication while its commit is on the way."""
    lifecycle.quiet()
    with transform_held(lifecycle, SHOP) as holds:
        run = lifecycle.trigger("transform__shop")
        for step, worker in (("build.fct_web_sessions", False), ("gate", False), ("publish", True)):
            until(lambda step=step: _all_but_one_done(lifecycle, run, step), f"{step} to be all that runs")
            waiting(lifecycle, "warehouse", "advisory")
            kill(lifecycle, run, step, worker=worker, task=True)
            holds.let_go(step)
        assert lifecycle.ended(run).state == "success", lifecycle.states(run)
    steps = ("begin", "build.fct_web_sessions", "gate", "publish")
    assert {step: _tries(lifecycle, run, step) for step in steps} == {
        "begin": 1, "build.fct_web_sessions": 2, "gate": 2, "publish": 2
    }  # fmt: skip
    (killed,) = _publications(lifecycle, run)
    survived = _served(lifecycle)
    lifecycle.quiet()

    # What an undisturbed build gives differs by what is in raw now, and by nothing else.
    name = lifecycle.value("warehouse", "select name from raw_shop.products where product_id = 1")
    rename = "update raw_shop.products set name = %s where product_id = 1"
    lifecycle.at("warehouse", rename, "corrected")
    try:
        assert lifecycle.clear(run).state == "success", lifecycle.states(run)
    finally:
        lifecycle.at("warehouse", rename, name)
    first, second = _publications(lifecycle, run)
    assert (first, second > first) == (killed, True)
    undisturbed = _served(lifecycle)
    assert {table for table in survived if survived[table] != undisturbed[table]} == {"marts.dim_products"}
    assert (survived["marts.dim_products"] - undisturbed["marts.dim_products"]).total() == 1
    product = "select product_name from marts.dim_products where product_id = 1"
    assert lifecycle.value("warehouse", product) == "corrected"
    lifecycle.quiet()


def _all_but_one_done(lifecycle: Lifecycle, run: Run, step: str) -> bool:
    """Whether of the instances of a task one runs, and all others are done."""
    return [t["state"] for t in lifecycle.tasks(run, step) if t["state"] != "success"] == ["running"]


def _publications(lifecycle: Lifecycle, run: Run) -> list[int]:
    rows = lifecycle.at(
        "warehouse", "select publication_id from ledger.publication where run_id = %s order by 1", run.run_id
    )
    return [version for (version,) in rows]


def _served(lifecycle: Lifecycle) -> dict[str, Counter[str]]:
    """The rows of every table that consumers and syncs see."""
    views = "select format('%I.%I', schemaname, viewname) from pg_views where schemaname in ('marts', 'activation')"
    return {
        view: Counter(text for (text,) in lifecycle.at("warehouse", f"select t::text from {view} as t"))
        for (view,) in lifecycle.at("warehouse", views)
    }
