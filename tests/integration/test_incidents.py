"""Incidents in a real warehouse, told to a real webhook: once, by whoever comes first, and never lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from include.cli.main import app
from include.core.connection import Connection
from include.core.errors import TerminalError
from include.core.incident import Trouble
from include.flows import incidents
from tests.support.activation import free_port
from tests.support.pipeline import Pipeline
from tests.support.sinks import Sink, webhook, webhook_address
from tests.unit.test_contracts import SOURCE, SYNC, TRANSFORM, write

_ALERTS = "on_failure: [team, second], on_warning: [second]"


@dataclass
class Watch:
    """A warehouse, a folder of contracts, and a webhook for each channel."""

    pipeline: Pipeline
    contracts: Path
    sinks: dict[str, Sink]

    def says(self, alerts: str = _ALERTS) -> None:
        """What the shop's contract says of its alerts."""
        write(self.contracts, "sources", "shop", f"{SOURCE}alerts: {{{alerts}}}\n")

    def connect(self, conn_id: str) -> Connection:
        return self.pipeline.connect(conn_id)

    def tell(self, *causes: str, run: str = "run-1", event: str = "failure", backfill: bool = False) -> None:
        text = f"ingest__shop failed at {causes[0]}"
        trouble = Trouble(
            "ingest", "shop", event, causes, text, f"why: {causes}", run, "http://log", backfill
        )
        incidents.tell(trouble, self.connect)

    def over(self, run: str, backfill: bool = False) -> None:
        incidents.over("ingest", "shop", run, self.connect, backfill=backfill)

    def rows(self, columns: str) -> list[tuple[object, ...]]:
        return self.pipeline.at_warehouse(f"select {columns} from ledger.incident order by incident_id")


@pytest.fixture
def watch(pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    monkeypatch.setenv("MILLRACE_CONTRACTS", str(tmp_path))
    with webhook() as team, webhook() as second, webhook() as boss, webhook() as readers:
        sinks = {"team": team, "second": second, "boss": boss, "readers": readers}
        for name, sink in sinks.items():
            config = {"config": json.dumps({"path": webhook_address(sink.port)})}
            pipeline.connections[name] = Connection(name, "apprise", extra=config)
        watch = Watch(pipeline, tmp_path, sinks)
        watch.says()
        yield watch


def test_tasks_that_fail_at_once_for_one_cause_are_one_incident_and_one_message(watch: Watch) -> None:
    with ThreadPoolExecutor(8) as tasks:
        list(tasks.map(lambda number: watch.tell("source away", run=f"run-{number % 2}"), range(16)))
    assert watch.rows("cause, occurrences, severity, resolved_at") == [("source away", 16, "critical", None)]
    assert [len(watch.sinks[name].messages) for name in ("team", "second", "boss")] == [1, 1, 0]
    ((title, body),) = watch.sinks["team"].messages
    assert title == "ingest__shop failed at source away"
    for text in (
        "What broke:  why:",
        "Since:       it has never succeeded",
        "Owner:       sales",
        "Log:         http://log",
    ):
        assert text in body
    ((number,),) = watch.rows("incident_id")
    assert f"Incident:    {number}; say that you have it: millrace incidents ack {number} --by YOU" in body


def test_what_is_told_is_counted_and_a_new_cause_beside_it_is_told(watch: Watch) -> None:
    watch.tell("orders")
    watch.tell("orders", run="run-2")
    watch.tell("items", "orders", run="run-3")
    assert watch.sinks["team"].titles == ["ingest__shop failed at orders", "ingest__shop failed at items"]
    assert watch.rows("cause, occurrences, run_id") == [("orders", 3, "run-3"), ("items", 1, "run-3")]


def test_it_is_told_again_after_its_time_unless_somebody_has_it(watch: Watch) -> None:
    watch.says(f"{_ALERTS}, remind_after: 0s")
    watch.tell("orders")
    watch.tell("orders")
    assert len(watch.sinks["team"].messages) == 2
    assert "(seen 2 times since 2" in watch.sinks["team"].messages[1][1]
    ((number,),) = watch.rows("incident_id")
    assert incidents.acknowledge(watch.connect, int(str(number)), "anna", "on it").acknowledged_by == "anna"
    watch.tell("orders")
    assert len(watch.sinks["team"].messages) == 2
    assert watch.rows("occurrences, acknowledged_by, note") == [(3, "anna", "on it")]


def test_a_success_ends_all_and_says_so_once(watch: Watch) -> None:
    watch.tell("orders")
    watch.tell("items")
    watch.tell("orders", run="run-2")
    watch.over("run-3")
    watch.over("run-4")
    assert watch.rows("resolved_by") == [("run run-3",), ("run run-3",)]
    for name in ("team", "second"):
        assert watch.sinks[name].titles[2:] == ["ingest__shop: trouble is over"]
    body = watch.sinks["team"].messages[-1][1]
    assert "ingest__shop failed at orders; open since 2" in body and "seen 2 times" in body
    assert "ingest__shop failed at items; open since 2" in body and "seen once" in body
    watch.tell("orders", run="run-5")
    assert len(watch.rows("1")) == 3
    assert len(watch.sinks["team"].messages) == 4


def test_a_run_does_not_end_the_warning_with_which_it_publishes(watch: Watch) -> None:
    watch.tell("orders: a rule", event="warning", run="run-1")
    watch.over("run-1")
    assert watch.rows("severity, resolved_at") == [("warning", None)]
    assert (watch.sinks["team"].messages, len(watch.sinks["second"].messages)) == ([], 1)
    watch.over("run-2")
    assert watch.sinks["second"].titles[-1] == "ingest__shop: warning is over"


def test_a_backfill_is_one_incident_which_only_its_own_runs_end(watch: Watch) -> None:
    for run, cause in (("past-1", "orders"), ("past-2", "items"), ("past-1", "items")):
        watch.tell(cause, run=run, backfill=True)
    assert watch.rows("cause, occurrences, backfill") == [("backfill", 3, True)]
    assert len(watch.sinks["team"].messages) == 1
    for run, backfill in (("run-1", False), ("past-3", True), ("past-1", True)):
        watch.over(run, backfill=backfill)
        assert watch.rows("resolved_at") == [(None,)]
    watch.tell("orders", run="run-2")
    watch.over("past-2", backfill=True)
    assert watch.rows("backfill, resolved_by") == [(True, "run past-2"), (False, None)]
    assert watch.sinks["team"].titles[-1] == "ingest__shop: backfill is over"


def test_raw_that_differs_from_its_source_is_over_only_when_they_are_found_equal(watch: Watch) -> None:
    found = (
        "with load as (insert into ledger.load (source, run_id, kind, interval_end, status)"
        " values ('shop', 'r', 'regular', now(), 'published') returning load_id)"
        " insert into ledger.reconciliation (load_id, stream, source_rows, raw_rows, columns, buckets, differing, examples)"
        " select load_id, 'orders', 1, 1, '{id}', 1, %s, '[]' from load"
    )
    watch.pipeline.at_warehouse(found, 1)
    watch.tell("balance: BooksDoNotBalance")
    watch.tell("stage: NotLanded")
    watch.over("run-2")
    assert watch.rows("resolved_by") == [(None,), ("run run-2",)]
    watch.pipeline.at_warehouse(found, 0)
    watch.over("run-3")
    assert watch.rows("resolved_by") == [("run run-3",), ("run run-2",)]


def test_in_maintenance_it_is_recorded_and_told_when_that_ends(watch: Watch) -> None:
    start, until = (datetime.now(timezone.utc) + timedelta(hours=hours) for hours in (-1, 1))
    watch.says(
        f"{_ALERTS}, maintenance: [{{start: '{start.isoformat()}', until: '{until.isoformat()}', why: moving}}]"
    )
    watch.tell("goes by itself")
    watch.over("run-2")
    watch.tell("stays")
    assert incidents.look(watch.connect) == []
    assert watch.sinks["team"].messages == []
    watch.says()
    assert incidents.look(watch.connect) == ["told incident 2: ingest__shop failed at stays"]
    assert incidents.look(watch.connect) == []
    assert watch.sinks["team"].titles == ["ingest__shop failed at stays"]


def test_what_nobody_acknowledges_goes_to_the_next_once(watch: Watch) -> None:
    watch.says(f"{_ALERTS}, escalate: {{after: 1h, to: [boss]}}")
    watch.tell("nobody has it")
    watch.tell("somebody has it")
    watch.tell("only a warning", event="warning")
    incidents.acknowledge(watch.connect, 2, "anna", "")
    assert incidents.look(watch.connect) == []
    watch.says(f"{_ALERTS}, escalate: {{after: 0s, to: [boss]}}")
    for sink in watch.sinks.values():
        sink.refuses.append(True)
    assert incidents.look(watch.connect) == []  # nobody took it, so it is still to be done
    for sink in watch.sinks.values():
        sink.refuses.clear()
    told = ["escalated incident 1: ingest__shop failed at nobody has it"]
    assert (incidents.look(watch.connect), incidents.look(watch.connect)) == (told, [])
    assert watch.sinks["boss"].titles == ["nobody has acknowledged: ingest__shop failed at nobody has it"]
    watch.over("run-9")
    assert watch.sinks["boss"].titles[-1] == "ingest__shop: trouble is over"


def test_without_its_ledger_an_alert_goes_out_each_time(watch: Watch) -> None:
    there = watch.pipeline.connections["warehouse_developer"]
    watch.pipeline.connections["warehouse_developer"] = replace(there, port=free_port())
    watch.tell("warehouse away")
    watch.tell("warehouse away")
    watch.over("run-2")
    assert watch.sinks["team"].titles == ["ingest__shop failed at warehouse away"] * 2
    body = watch.sinks["team"].messages[0][1]
    assert "not recorded, the ledger could not be written (Unreachable)" in body
    assert "Since:       unknown, the ledger could not be read (Unreachable)" in body


def test_a_dead_channel_is_told_by_the_next_and_the_message_with_it(watch: Watch) -> None:
    watch.says("on_failure: [team, nowhere], on_warning: [second]")
    watch.sinks["team"].refuses.append(True)
    watch.tell("orders")
    ((title, body),) = watch.sinks["second"].messages
    assert title == "alert channel 'team', 'nowhere' is dead; it did not take: ingest__shop failed at orders"
    assert "Channel team: it did not take the message" in body
    assert "Channel nowhere: it is broken (KeyError)" in body
    assert "What broke:  why: ('orders',)" in body
    assert watch.rows("told_at is not null") == [(True,)]


def test_what_no_channel_took_is_told_once_one_lives(watch: Watch) -> None:
    for name in ("team", "second"):
        watch.sinks[name].refuses.append(True)
    watch.tell("orders")
    assert watch.rows("told_at, last_told_at") == [(None, None)]
    watch.sinks["second"].refuses.clear()
    assert incidents.look(watch.connect) == ["told incident 1: ingest__shop failed at orders"]
    assert watch.sinks["second"].titles == [
        "ingest__shop failed at orders",
        "alert channel 'team' is dead; it did not take: ingest__shop failed at orders",
    ]
    assert incidents.look(watch.connect) == []


def test_readers_are_told_of_their_data_when_something_before_it_fails(watch: Watch) -> None:
    watch.says()
    write(watch.contracts, "transforms", "shop", f"{TRANSFORM}alerts: {{consumers: [readers]}}\n")
    write(watch.contracts, "syncs", "contacts", SYNC)
    watch.tell("orders")
    watch.tell("orders")
    watch.tell("other", backfill=True)
    ((title, body),) = watch.sinks["readers"].messages
    assert title == "marts of shop: newer data is late"
    assert "there is nothing yet" in body and "sales@example.org" in body
    assert "marts of shop" in watch.sinks["team"].messages[0][1]
    watch.over("run-2")
    assert watch.sinks["readers"].titles[1:] == ["marts of shop: new data comes again"]


def test_a_person_may_end_it_and_nobody_may_delete_it(watch: Watch) -> None:
    watch.tell("orders", backfill=True)
    assert incidents.close_by_hand(watch.connect, 1, "anna", "given up").resolved_by == "anna"
    assert watch.sinks["team"].titles[-1] == "ingest__shop: backfill is over"
    assert [one.note for one in incidents.listed(watch.connect, everything=True)] == ["given up"]
    assert incidents.listed(watch.connect, everything=False) == []
    for again in (incidents.acknowledge, incidents.close_by_hand):
        with pytest.raises(TerminalError, match="no such incident is open"):
            again(watch.connect, 1, "anna", "")
    uri = watch.connect("warehouse_developer").postgres_uri()
    with psycopg.connect(uri) as session, pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute("delete from ledger.incident")
    others = ("loader", "transformer", "activator", "analyst")
    for role in others:
        uri = watch.connect(f"warehouse_{role}").postgres_uri()
        with psycopg.connect(uri) as session, pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("select * from ledger.incident")


def test_a_test_message_says_of_each_channel_whether_it_took_it(watch: Watch) -> None:
    watch.says("on_failure: [team], consumers: [readers], escalate: {after: 1h, to: [boss]}")
    watch.sinks["boss"].refuses.append(True)
    answers = incidents.try_channels("ingest__shop", watch.connect)
    assert answers == {"team": "", "boss": "it did not take the message", "readers": ""}
    assert watch.sinks["readers"].titles == ["ingest__shop: a test of its alerts"]
    assert watch.rows("1") == []


def test_a_person_lists_acknowledges_and_closes_them_and_tries_the_channels(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"config": {"path": webhook_address(watch.sinks["team"].port)}}
    team = {"conn_type": "apprise", "extra": config}
    monkeypatch.setenv("AIRFLOW_CONN_TEAM", json.dumps(team))
    uri = watch.connect("warehouse_developer").postgres_uri()
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE_DEVELOPER", uri)
    watch.says("on_failure: [team]")

    def millrace(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, words)
        return done.exit_code, done.output

    assert millrace("incidents") == (0, "no incident is open\n")
    watch.tell("orders[1]")
    assert "ingest__shop failed at orders[1]" in millrace("incidents")[1]
    acknowledged = "incident 1, ingest__shop failed at orders[1]: acknowledged by anna\n"
    assert millrace("incidents", "ack", "1", "--by", "anna", "--note", "mine") == (0, acknowledged)
    shown = millrace("incidents", "show", "1")[1]
    assert "acknowledged: by anna" in shown and "why: ('orders[1]',)" in shown and "mine" in shown
    assert millrace("incidents", "close", "1", "--by", "anna")[0] == 0
    assert millrace("incidents") == (0, "no incident is open\n")
    assert "orders[1]" in millrace("incidents", "--all")[1]
    assert millrace("incidents", "ack", "1", "--by", "anna")[0] == 1
    assert millrace("alert", "test", "ingest__shop") == (0, "team                took it\n")
    watch.sinks["team"].refuses.append(True)
    assert millrace("alert", "test", "ingest__shop") == (
        1,
        "team                it did not take the message\n",
    )
    assert millrace("alert", "test", "shop")[0] == millrace("alert", "test", "ingest__nothing")[0] == 1
