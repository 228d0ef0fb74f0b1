"""One message for a cause that comes again, to a real mail server and webhook; the next person; and that it is over."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

from include.stack.ports import LOOPBACK
from tests.support.lifecycle import Lifecycle, Run, until
from tests.support.own_sources import let_read
from tests.support.sinks import mail_address, mailbox, webhook, webhook_address

_CONTRACT = """
source: bins
kind: postgres
connection: depot
description: The bins of the depot, one of which has no number.
owner: {{team: depot-team, contact: depot@example.com}}
alerts:
  on_failure: [nowhere, team_mail, team_hook]
  on_warning: [warn_hook]
  escalate: {{after: 1s, to: [boss_hook]}}
deadline: {{after_queueing: 1h}}
retry: {{attempts: 1, delay: 1s}}
schedule: {{cron: "0 0 * * *", start: {start}}}
keeps: forever
errors_tolerated: 0
lateness: 0s
upstreams: []
streams:
  - name: bins
    table: bins.bins
    primary_key: [bin_id]
    mode: snapshot
    deletes: snapshot
    columns:
      bin_id: {{type: bigint}}
  - name: lids
    table: bins.lids
    primary_key: [lid_id]
    mode: snapshot
    deletes: snapshot
    columns:
      lid_id: {{type: bigint}}
      bin_id: {{type: bigint}}
    references:
      - {{columns: [bin_id], stream: bins, severity: warning}}
"""


def test_two_failures_are_one_message_which_is_escalated_and_taken_back(
    depot: str, lifecycle: Lifecycle
) -> None:
    lifecycle.at(
        depot,
        "create schema bins; create table bins.bins (bin_id bigint); insert into bins.bins values (1), (null);"
        "create table bins.lids (lid_id bigint, bin_id bigint); insert into bins.lids values (1, 1), (2, 99)",
    )
    let_read(lifecycle.stack, depot, "bins")
    with mailbox() as mail, webhook() as hook, webhook() as boss, webhook() as warned:
        channels = {
            "nowhere": f"json://{LOOPBACK}:9",  # nobody listens there
            "team_mail": mail_address(mail.port),
            "team_hook": webhook_address(hook.port),
            "boss_hook": webhook_address(boss.port),
            "warn_hook": webhook_address(warned.port),
        }
        for name, path in channels.items():
            _connection(lifecycle, name, path)
        start = datetime.now(timezone.utc).date() - timedelta(days=2)
        file = lifecycle.contracts / "sources" / "bins.yaml"
        file.write_text(_CONTRACT.format(start=start))
        try:
            dag_id = "ingest__bins"
            until(lambda: dag_id in lifecycle.api.dag_ids(), f"{dag_id} to appear")
            scheduled = until(lambda: lifecycle.api.runs(dag_id), f"{dag_id} to be started by its schedule")
            for run in (Run(dag_id, scheduled[0]["dag_run_id"]), lifecycle.trigger(dag_id)):
                assert lifecycle.ended(run).state == "failed"
            until(lambda: len(mail.messages) > 1, "the alert and the report of the dead channel")
            broke = mail.titles[0]
            assert broke.startswith("ingest__bins failed at audit[bins")  # the task may have both streams
            dead = f"alert channel 'nowhere' is dead; it did not take: {broke}"
            assert (mail.titles, hook.titles) == ([broke, dead], [broke])
            for _, body in (mail.messages[0], hook.messages[0]):
                assert "primary key bin_id is not null" in body
                assert "/dags/ingest__bins/runs/" in body

            assert lifecycle.done("maintain").state == "success"
            assert boss.titles == [f"nobody has acknowledged: {broke}"]
            listed = lifecycle.stack.millrace("incidents").stdout
            (number,) = [line.split()[0] for line in listed.splitlines() if broke in line]
            asked = lifecycle.stack.millrace("incidents", "ack", number, "--by", "anna")
            assert asked.stdout.strip() == f"incident {number}, {broke}: acknowledged by anna"

            lifecycle.at(depot, "delete from bins.bins where bin_id is null")
            assert lifecycle.done("ingest__bins").state == "success"
            over = "ingest__bins: trouble is over"
            until(lambda: over in boss.titles, "the note that it is over")
            assert [sink.titles.count(over) for sink in (mail, hook, boss)] == [1, 1, 1]
            assert [sink.titles.count(broke) for sink in (mail, hook)] == [1, 1]
            facts = (
                "select event, occurrences >= 2, acknowledged_by, resolved_at is null from ledger.incident"
                " where name = 'bins' order by event"
            )
            told = [("failure", True, "anna", False), ("warning", True, None, True)]
            assert lifecycle.at("warehouse", facts) == told  # it publishes with the warning, so that goes on
            assert warned.titles == ["ingest__bins has a warning at audit"]
        finally:
            file.unlink()


def _connection(lifecycle: Lifecycle, name: str, path: str) -> None:
    """As one makes it in the UI."""
    extra = json.dumps({"config": {"path": path}})
    lifecycle.api.call(
        "POST",
        "/api/v2/connections",
        json={"connection_id": name, "conn_type": "apprise", "extra": extra},
    )
