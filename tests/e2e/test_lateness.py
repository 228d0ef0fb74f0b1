"""A transaction that stays open in the source: the run waits for it, nothing is lost, and who relies on it is told."""

from __future__ import annotations

import psycopg

from tests.support.lifecycle import Lifecycle, until


def test_a_run_waits_for_what_may_still_be_committed(depot: str, lifecycle: Lifecycle) -> None:
    """The row carries the moment at which its transaction began, and is committed long after the run was asked for."""
    assert lifecycle.done("ingest__depot").state == "success"  # after the run that the schedule asked for
    arrived = "select count(*) from raw_depot.items where item_id = %s"
    before, past_day = lifecycle.alerts(), lifecycle.contract(depot).schedule.start
    past = lifecycle.api.call(
        "POST",
        "/api/v2/backfills",
        json={
            "dag_id": "ingest__depot",
            "from_date": f"{past_day}T00:00:00Z",
            "to_date": f"{past_day}T00:00:00Z",
            "reprocess_behavior": "completed",
            "dag_run_conf": {},
        },
    )
    with psycopg.connect(lifecycle.stack.postgres.conninfo(depot)) as writer:
        late = "insert into depot.items select max(item_id) + 1, 'committed late', 1, now() from depot.items"
        (item,) = writer.execute(f"{late} returning item_id").fetchone() or ()
        # a backfill is of the past, which nothing can hold up, and nobody waits for it: it may be as late as it likes
        (backfill,) = lifecycle.backfilled(past["id"])
        run = lifecycle.trigger("ingest__depot")
        until(
            lambda: lifecycle.task(run, "wait_for_commit_horizon")["state"] == "up_for_reschedule",
            "the run to wait for the commit horizon",
        )
        alert = lifecycle.alert_of(run, "missed its deadline")
        assert "it should have ended by" in alert
        assert "raw tables raw_depot (consumers: keeper@example.com)" in alert
        assert f"/dags/ingest__depot/runs/{run.run_id}" in alert
        assert lifecycle.value("warehouse", arrived, item) == 0
        assert "waiting for" in lifecycle.log(run, "wait_for_commit_horizon")
    assert lifecycle.ended(run).state == "success"
    assert lifecycle.value("warehouse", arrived, item) == 1
    assert lifecycle.unequal(depot) == []
    assert backfill.state == "success"
    assert not [text for text in lifecycle.alerts()[len(before) :] if backfill.run_id in text]
