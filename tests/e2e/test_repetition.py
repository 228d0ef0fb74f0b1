"""What is done again changes nothing: tasks and runs that are cleared, runs side by side, the past."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import pytest

from tests.e2e.conftest import Demo
from tests.support.lifecycle import SHOP, Lifecycle, Run, until

#: Many runs and waves of backfills: minutes, not seconds.
pytestmark = pytest.mark.slow


def _hours_ago(hours: int) -> str:
    this_hour = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)
    return (this_hour - timedelta(hours=hours)).isoformat()


def _content(lifecycle: Lifecycle, source: str) -> list[tuple[object, ...]]:
    """Every row of a source's raw tables with the load that wrote it: a row that is written again differs."""
    found = []
    for stream in lifecycle.contract(source).streams:
        query = f"select '{stream.name}', md5(t::text) from raw_{source}.{stream.name} as t order by 2"
        found += lifecycle.at("warehouse", query)
    return found


def test_tasks_and_runs_done_again_leave_raw_as_it_is(depot: str, lifecycle: Lifecycle) -> None:
    lifecycle.at(depot, "update depot.items set price = price + 1, updated_at = now() where item_id <= 10")
    lifecycle.at(depot, "delete from depot.items where item_id in (20, 21)")
    run = lifecycle.done("ingest__depot")
    assert run.state == "success", lifecycle.states(run)
    before, marks = _content(lifecycle, depot), lifecycle.watermarks(depot)
    assert lifecycle.unequal(depot) == []

    for again in (["publish"], ["stage", "audit"], ["balance", "close"]):  # each alone, then all
        assert lifecycle.clear(run, *again).state == "success"
        assert _content(lifecycle, depot) == before
    assert lifecycle.clear(run).state == "success"
    other = lifecycle.trigger("ingest__depot"), lifecycle.trigger("ingest__depot")
    assert [lifecycle.ended(one).state for one in other] == ["success"] * 2

    assert _content(lifecycle, depot) == before
    assert lifecycle.twice(depot) == []
    now = lifecycle.watermarks(depot)
    assert now["items"] > marks["items"]  # later runs; a repetition alone does not move it back
    assert lifecycle.clear(run).state == "success"
    assert lifecycle.watermarks(depot) == now
    assert lifecycle.books() == []


def test_a_past_run_that_is_cleared_does_not_bring_old_rows_back(depot: str, lifecycle: Lifecycle) -> None:
    past = lifecycle.done("ingest__depot")
    lifecycle.at(depot, "update depot.items set name = 'newer', updated_at = now() where item_id = 7")
    assert lifecycle.done("ingest__depot").state == "success"
    marks = lifecycle.watermarks(depot)
    assert lifecycle.clear(past).state == "success"
    assert lifecycle.unequal(depot) == []
    assert lifecycle.value("warehouse", "select name from raw_depot.items where item_id = 7") == "newer"
    assert lifecycle.watermarks(depot) == marks


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


def test_the_past_is_done_again_without_harm(first_demo: Demo, lifecycle: Lifecycle) -> None:
    """Backfills of the shop's past hours: three runs at once by REST, which take turns, and one by the command line."""
    lifecycle.at(
        "warehouse",  # somebody has damaged rows of four hours of yesterday
        "update raw_shop.web_events set event_type = 'damaged' where received_at >= %s and received_at < %s",
        _hours_ago(30),
        _hours_ago(26),
    )
    damaged = lifecycle.unequal(SHOP)
    assert [line.split(":")[0] for line in damaged] == ["web_events"]
    marks, crm = lifecycle.watermarks(SHOP), _sent(lifecycle)

    span = {"from_date": _hours_ago(30), "to_date": _hours_ago(28)}
    by_rest = lifecycle.api.call(
        "POST",
        "/api/v2/backfills",
        json={
            "dag_id": "ingest__shop",
            **span,
            "reprocess_behavior": "completed",
            "max_active_runs": 3,
            "dag_run_conf": {},
        },
    )
    runs = lifecycle.backfilled(by_rest["id"])
    said = lifecycle.stack.millrace(
        "airflow", "backfill", "create", "--dag-id", "ingest__shop", "--from-date", _hours_ago(27),
        "--to-date", _hours_ago(27), "--reprocess-behavior", "completed",
    )  # fmt: skip
    assert said.returncode == 0, said.stdout + said.stderr
    newest = lifecycle.value("airflow", "select max(id) from backfill where dag_id = 'ingest__shop'")
    runs += lifecycle.backfilled(newest)

    assert len(runs) == 4
    assert {run.state for run in runs} == {"success"}, {run: lifecycle.states(run) for run in runs}
    assert lifecycle.unequal(SHOP) == []
    assert lifecycle.twice(SHOP) == []
    assert lifecycle.books() == []
    assert lifecycle.watermarks(SHOP) == marks
    _nothing_was_sent(lifecycle, runs, crm)


def _sent(lifecycle: Lifecycle) -> tuple[object, ...]:
    return (
        lifecycle.at("crm", "select * from crm.contacts order by contact_id"),
        lifecycle.contacts(),
        lifecycle.value("warehouse", "select count(*) from ledger.sync_run"),
    )


def _nothing_was_sent(lifecycle: Lifecycle, runs: list[Run], before: tuple[object, ...]) -> None:
    """Marts are built from the repaired rows; the activations that this starts send nothing and say why."""
    transform = lifecycle.caused("transform__shop", runs[-1])
    assert transform.state == "success"
    for sync in lifecycle.syncs():
        skipped = lifecycle.caused(f"activate__{sync}", transform)
        assert skipped.state == "success"
        assert set.union(*lifecycle.states(skipped).values()) == {"skipped"}
        assert "started by a backfill: nothing is sent" in lifecycle.log(skipped, "plan")
    assert _sent(lifecycle) == before
    written = "\n".join(lifecycle.alerts())
    assert not [run for run in (*runs, transform) if re.search(re.escape(run.run_id), written)]
