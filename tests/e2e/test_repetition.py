"""What is done again changes nothing: tasks and runs that are cleared, runs side by side, the past."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import pytest

from tests.e2e.conftest import Demo
from tests.support.lifecycle import SHOP, Lifecycle, Run, until


def _content(lifecycle: Lifecycle, source: str) -> list[tuple[object, ...]]:
    """Every row of a source's raw tables with the load that wrote it: a row that is written again differs."""
    found = []
    for stream in lifecycle.contract(source).streams:
        query = f"select '{stream.name}', md5(t::text) from raw_{source}.{stream.name} as t order by 2"
        found += lifecycle.at("warehouse", query)
    return found


@pytest.fixture(scope="module")
def pulled(depot: str, lifecycle: Lifecycle) -> Run:
    """A run that moved changes and deletes of the depot."""
    lifecycle.at(depot, "update depot.items set price = price + 1, updated_at = now() where item_id <= 10")
    lifecycle.at(depot, "delete from depot.items where item_id in (20, 21)")
    run = lifecycle.done("ingest__depot")
    assert run.state == "success", lifecycle.states(run)
    assert lifecycle.unequal(depot) == []
    return run


def test_tasks_and_runs_done_again_leave_raw_as_it_is(depot: str, pulled: Run, lifecycle: Lifecycle) -> None:
    run, before, marks = pulled, _content(lifecycle, depot), lifecycle.watermarks(depot)
    for again in (["publish"], ["stage", "audit", "balance", "close"], []):  # some, others, all
        assert lifecycle.clear(run, *again).state == "success"
        assert _content(lifecycle, depot) == before
    assert lifecycle.watermarks(depot) == marks

    # a past run does not bring old rows back
    lifecycle.at(depot, "update depot.items set name = 'newer', updated_at = now() where item_id = 7")
    assert lifecycle.done("ingest__depot").state == "success"
    now = lifecycle.watermarks(depot)
    assert now["items"] > marks["items"]
    assert lifecycle.clear(run).state == "success"
    assert lifecycle.watermarks(depot) == now
    assert lifecycle.value("warehouse", "select name from raw_depot.items where item_id = 7") == "newer"
    assert lifecycle.unequal(depot) == lifecycle.twice(depot) == lifecycle.books() == []


def test_a_run_that_is_cleared_after_its_contract_has_changed_does_all_of_it_again(
    depot: str, lifecycle: Lifecycle
) -> None:
    """Airflow then rebuilds the run from the newest version of its DAG; no step may be taken for done."""
    run = lifecycle.done("ingest__depot")
    loads = "select count(*) from ledger.load where source = 'depot' and run_id = %s and status = 'published'"
    assert lifecycle.value("warehouse", loads, run.run_id) == 1
    versions = "select count(*) from dag_version where dag_id = 'ingest__depot'"
    known = lifecycle.value("airflow", versions)
    file = lifecycle.contracts / "sources" / "depot.yaml"
    text = file.read_text()
    name = f"Ask the keeper of the depot, who has been asked {known} times."
    file.write_text(re.sub("^runbook: .*$", f"runbook: {name}", text, flags=re.MULTILINE))
    until(lambda: lifecycle.value("airflow", versions) > known, "Airflow to read the contract")

    lifecycle.at(depot, "update depot.items set price = price + 1, updated_at = now() where item_id = 5")
    again = lifecycle.clear(run, run_on_latest_version=True)
    assert again.state == "success"
    assert lifecycle.value("warehouse", loads, run.run_id) == 2
    assert lifecycle.states(run)["stage"] == lifecycle.states(run)["audit"] == {"success"}
    assert lifecycle.unequal(depot) == []


def test_past_days_are_done_again_without_harm(depot: str, pulled: Run, lifecycle: Lifecycle) -> None:
    """Three runs at once, which take turns."""
    # somebody has damaged rows of three days ago
    lifecycle.at("warehouse", "update raw_depot.items set name = 'damaged' where item_id between 400 and 410")
    assert [line.split(":")[0] for line in lifecycle.unequal(depot)] == ["items"]
    marks, first = lifecycle.watermarks(depot), lifecycle.contract(depot).schedule.start
    asked = lifecycle.api.call(
        "POST",
        "/api/v2/backfills",
        json={
            "dag_id": "ingest__depot",
            "from_date": f"{first}T00:00:00Z",
            "to_date": f"{first + timedelta(days=2)}T00:00:00Z",
            "reprocess_behavior": "completed",
            "max_active_runs": 3,
            "dag_run_conf": {},
        },
    )
    runs = lifecycle.backfilled(asked["id"])
    assert [run.state for run in runs] == ["success"] * 3, {run: lifecycle.states(run) for run in runs}
    assert lifecycle.watermarks(depot) == marks
    assert lifecycle.unequal(depot) == lifecycle.twice(depot) == lifecycle.books() == []


def test_a_past_hour_of_the_shop_reaches_its_marts_and_nobody_beyond(
    first_demo: Demo, lifecycle: Lifecycle
) -> None:
    """A backfill by the command line: marts are built from the repaired rows, and what this activates sends nothing."""
    lifecycle.quiet()  # what other runs start meanwhile is sent
    # the newest hour, of more than a day ago, in which something happened: in a quiet one nothing could be damaged
    hour = lifecycle.value(
        "warehouse",
        "select date_trunc('hour', max(received_at)) from raw_shop.web_events"
        " where received_at < now() - interval '30 hours'",
    )
    lifecycle.at(
        "warehouse",
        "update raw_shop.web_events set event_type = 'damaged' where received_at >= %s and received_at < %s",
        hour,
        hour + timedelta(hours=1),
    )
    assert [line.split(":")[0] for line in lifecycle.unequal(SHOP)] == ["web_events"]
    marks, crm = lifecycle.watermarks(SHOP), _sent(lifecycle)
    said = lifecycle.stack.millrace(
        "airflow", "backfill", "create", "--dag-id", "ingest__shop", "--from-date", hour.isoformat(),
        "--to-date", hour.isoformat(), "--reprocess-behavior", "completed",
        "--dag-run-conf", json.dumps({"streams": ["web_events"]}),
    )  # fmt: skip
    assert said.returncode == 0, said.stdout + said.stderr
    newest = lifecycle.value("airflow", "select max(id) from backfill where dag_id = 'ingest__shop'")
    (run,) = lifecycle.backfilled(newest)
    assert run.state == "success", lifecycle.states(run)
    assert lifecycle.unequal(SHOP) == lifecycle.twice(SHOP) == lifecycle.books() == []
    assert lifecycle.watermarks(SHOP) == marks
    _nothing_was_sent(lifecycle, run, crm)


def _sent(lifecycle: Lifecycle) -> tuple[object, ...]:
    return (
        lifecycle.at("crm", "select * from crm.contacts order by contact_id"),
        lifecycle.contacts(),
        lifecycle.value("warehouse", "select count(*) from ledger.sync_run"),
    )


def _nothing_was_sent(lifecycle: Lifecycle, run: Run, before: tuple[object, ...]) -> None:
    transform = lifecycle.caused("transform__shop", run)
    assert transform.state == "success"
    for sync in lifecycle.syncs():
        skipped = lifecycle.caused(f"activate__{sync}", transform)
        assert skipped.state == "success"
        assert set.union(*lifecycle.states(skipped).values()) == {"skipped"}
        assert "started by a backfill: nothing is sent" in lifecycle.log(skipped, "plan")
    assert _sent(lifecycle) == before
    written = "\n".join(lifecycle.alerts())
    assert not [one for one in (run, transform) if one.run_id in written]
