"""A transaction that stays open in the source: the run waits for it, nothing is lost, and who relies on it is told."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

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
    until(
        lambda: [
            text
            for text in lifecycle.alerts()[lifecycle.alerts().index(alert) :]
            if "ingest__depot: trouble is over" in text.splitlines()[0] and "it is there now" in text
        ],
        "the note that the late data is there",
    )
    assert lifecycle.value("warehouse", arrived, item) == 1
    assert lifecycle.unequal(depot) == []
    assert backfill.state == "success"
    assert not [text for text in lifecycle.alerts()[len(before) :] if backfill.run_id in text]
    # the history is of what is relied on: the run that the schedule asked for, and neither of these
    kept = lifecycle.at(
        "warehouse", "select run_id, met from ledger.deadline where name = %s and met is not null", depot
    )
    assert len(kept) == 1
    assert kept[0][0].startswith("scheduled__")


def test_data_that_is_not_there_at_its_time_of_day(depot: str, lifecycle: Lifecycle) -> None:
    """A source is pulled a minute before it has to be there, when clocks in India show a time some minutes from now."""
    row = "select {} from ledger.deadline where name = 'yard' and rule = 'at' order by due_at limit 1"
    soon = (datetime.now(timezone.utc) + timedelta(seconds=180)).replace(second=0, microsecond=0)
    there = f"{soon.astimezone(ZoneInfo('Asia/Kolkata')):%H:%M} Asia/Kolkata"
    text = (
        (lifecycle.contracts / "sources" / f"{depot}.yaml")
        .read_text()
        .replace("source: depot", "source: yard")
    )
    text = text.replace('"0 0 * * *"', f'"{(soon - timedelta(minutes=1)).minute} * * * *"')
    file = lifecycle.contracts / "sources" / "yard.yaml"
    try:
        with psycopg.connect(lifecycle.stack.postgres.conninfo(depot)) as writer:
            writer.execute("select now()")  # as long as this goes on, nothing is pulled that ends after now
            file.write_text(text.replace("after_queueing: 5s", f'at: "{there}"'))
            assert lifecycle.done("maintain").state == "success"
            ((due, met),) = lifecycle.at("warehouse", row.format("due_at, met"))
            assert (due, met) == (soon, None), "it stands before it falls due"
            until(lambda: "ingest__yard" in lifecycle.api.dag_ids(), "ingest__yard to appear")
            until(lambda: datetime.now(timezone.utc) > due, "the time of day")
            assert lifecycle.done("maintain").state == "success"
            (alert,) = [text for text in lifecycle.alerts() if "ingest__yard missed its deadline" in text]
            assert f"the data was to be there by {there} ({due:%Y-%m-%d %H:%M}:00 UTC)" in alert
            assert "raw tables raw_yard (consumers: keeper@example.com)" in alert
            assert lifecycle.done("maintain").state == "success"
        # the writer has ended, and what waited for it goes on
        streams = "select count(*) from ledger.load where source = 'yard' and status = 'published' and interval_end >= %s"
        until(lambda: lifecycle.value("warehouse", streams, due - timedelta(minutes=1)), "the late data")
        assert lifecycle.done("maintain").state == "success"
    finally:
        lifecycle.quiet()
        file.unlink()
    about = [text.splitlines()[0].partition(" ")[2] for text in lifecycle.alerts() if "ingest__yard" in text]
    assert about == ["ingest__yard missed its deadline", "ingest__yard: trouble is over"]
    ((met, told, reached),) = lifecycle.at("warehouse", row.format("met, told_at, reached_at"))
    assert (met, told > due, reached > told) == (False, True, True)
    month = "select met, missed, percent_met from ledger.deadline_month where name = 'yard'"
    assert lifecycle.at("warehouse", month) == [(0, 1, 0)]
    shown = lifecycle.stack.millrace("deadlines", "yard", "--month", f"{due:%Y-%m}").stdout
    assert "ingest yard" in shown and f"{due:%Y-%m-%d %H:%M}" in shown
