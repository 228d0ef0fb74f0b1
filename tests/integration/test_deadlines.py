"""Deadlines and freshness, judged from contracts and a real ledger: met, missed, told once, there at last, and counted."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from include.cli.main import app
from include.core.contracts import SourceContract, TransformContract
from include.flows import deadlines, run_deadlines
from include.flows.run_deadlines import RunFacts
from include.stack.home import PROJECT_ROOT
from include.warehouse import reached
from include.warehouse.connect import connected
from tests.support.dues import ANYBODY, at, depot, judge, marts, pull, rows
from tests.support.pipeline import Pipeline


@pytest.fixture
def now(pipeline: Pipeline) -> datetime:
    """Half past eleven today, UTC, whatever the time is. The source has a row of an hour before."""
    pipeline.at_source("create schema depot")
    pipeline.at_source("create table depot.items (id bigint primary key, updated_at timestamptz not null)")
    today = datetime.now(timezone.utc).replace(hour=11, minute=30, second=0, microsecond=0)
    pipeline.at_source("insert into depot.items values (1, %s)", today - timedelta(hours=1))
    return today


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Writes contracts: `say(sources={"depot": {...}}, transforms={...})`."""
    monkeypatch.setenv("MILLRACE_CONTRACTS", str(tmp_path))

    def write(**contracts: dict[str, dict[str, Any]]) -> None:
        for folder, named in contracts.items():
            (tmp_path / folder).mkdir(exist_ok=True)
            for name, contract in named.items():
                (tmp_path / folder / f"{name}.yaml").write_text(yaml.safe_dump(contract))

    return write


def test_a_time_of_day_is_missed_told_once_and_over_when_the_data_is_there(
    pipeline: Pipeline, now: datetime, say: Callable[..., None]
) -> None:
    say(sources={"depot": depot(deadline={"at": "11:00"})})
    due = now.replace(minute=0)
    midnight = now.replace(hour=0, minute=0)
    assert judge(pipeline, due - timedelta(hours=3)) == []
    assert rows(pipeline) == [("at", due, None, False)], "it stands before it falls due"
    # a run by hand that ended too early does not bring what is waited for
    pull(pipeline, midnight - timedelta(seconds=1))
    ((rule, over, what),) = judge(pipeline, now)
    assert (rule, over) == ("at", False)
    assert f"11:00 ({due:%Y-%m-%d %H:%M:%S} UTC)" in what
    assert f"depot up to {midnight:%Y-%m-%d %H:%M:%S} UTC" in what
    assert judge(pipeline, now) == [], "told once"
    pull(pipeline, midnight)
    ((rule, over, what),) = judge(pipeline, now)
    assert (rule, over) == ("at", True)
    assert "it is there now" in what
    assert judge(pipeline, now) == []
    tomorrow = due + timedelta(days=1)
    assert rows(pipeline) == [("at", due, False, True), ("at", tomorrow, None, False)]


def test_days_on_which_nobody_watched_are_judged_afterwards_and_the_last_is_told(
    pipeline: Pipeline, now: datetime, say: Callable[..., None]
) -> None:
    say(sources={"depot": depot(deadline={"at": "11:00"})})
    judge(pipeline, now - timedelta(days=4))
    told = judge(pipeline, now, began=False)
    assert [rule for rule, _, _ in told] == ["at"]
    assert "no run began for the interval" in told[0][2]
    assert [met for _, _, met, _ in rows(pipeline)] == [False, False, False, False, None]
    pull(pipeline, now)
    assert [over for _, over, _ in judge(pipeline, now)] == [True]


def test_what_is_there_in_time_is_met(pipeline: Pipeline, now: datetime, say: Callable[..., None]) -> None:
    say(sources={"depot": depot(deadline={"at": "11:00"})})
    tomorrow = now.replace(minute=0) + timedelta(days=1)
    assert judge(pipeline, now) == []
    pull(pipeline, now.replace(hour=0, minute=0) + timedelta(days=1))
    assert judge(pipeline, tomorrow + timedelta(minutes=1)) == []
    assert rows(pipeline)[0] == ("at", tomorrow, True, True)


def test_a_contract_that_says_another_time_is_judged_by_that_only(
    pipeline: Pipeline, now: datetime, say: Callable[..., None]
) -> None:
    for text in ("12:00", "13:00 Europe/Berlin", "15:00"):
        say(sources={"depot": depot(deadline={"at": text})})
        judge(pipeline, now)
    assert [due.hour for _, due, _, _ in rows(pipeline)] == [15]
    say(sources={"depot": depot()})
    judge(pipeline, now)
    assert [rule for rule, *_ in rows(pipeline)] == ["after_queueing"]


def test_percentages_by_month_and_what_was_missed(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day, met in enumerate((True, True, False, None), start=1):
        pipeline.at_warehouse(
            "insert into ledger.deadline (kind, name, rule, about, due_at, met)"
            " values ('ingest', 'depot', 'at', %s, %s, %s)",
            str(day), at(f"2026-11-0{day}T10:00"), met,
        )  # fmt: skip
    pipeline.at_warehouse(
        "insert into ledger.deadline (kind, name, rule, about, due_at, met)"
        " values ('transform', 'depot', 'freshness', 'x', '2026-11-02', false)"
    )
    months, missed = deadlines.history(pipeline.connect, None, datetime(2026, 11, 1))
    (month,) = months
    assert (month["met"], month["missed"], float(month["percent_met"])) == (2, 1, 66.7)
    assert [row["rule"] for row in missed] == ["at", "freshness"]
    reader = pipeline.connect("warehouse_developer").postgres_uri()
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE_DEVELOPER", reader)
    shown = CliRunner().invoke(app, ["deadlines", "--month", "2026-11"])
    assert shown.exit_code == 0, shown.output
    lines = [line.split() for line in shown.output.splitlines()]
    assert ["2026-11", "ingest", "depot", "at", "2", "1", "66.7"] in lines
    assert ["2026-11-03", "10:00", "ingest", "depot", "at", "not", "yet"] in lines
    assert CliRunner().invoke(app, ["deadlines", "nothing"]).output.startswith("no deadline has passed yet")


def test_a_run_that_never_began_is_told_and_one_under_way_is_not(
    pipeline: Pipeline, now: datetime, say: Callable[..., None]
) -> None:
    say(sources={"depot": depot(deadline={"after_queueing": "30m"})})
    midnight = now.replace(hour=0, minute=0)
    judge(pipeline, midnight - timedelta(minutes=5))
    assert judge(pipeline, midnight + timedelta(minutes=29), began=False) == []
    assert judge(pipeline, midnight + timedelta(minutes=31), began=True) == [], (
        "Airflow watches it from its queueing on"
    )
    ((rule, over, what),) = judge(pipeline, midnight + timedelta(minutes=32), began=False)
    assert (rule, over) == ("after_queueing", False)
    yesterday = midnight - timedelta(days=1)
    assert (
        f"no run began for the interval [{yesterday:%Y-%m-%d %H:%M:%S}, {midnight:%Y-%m-%d %H:%M:%S})" in what
    )


def facts(run_id: str, end: datetime, run_type: str = "scheduled") -> RunFacts:
    return RunFacts(
        run_id, run_type, end, end if run_type == "scheduled" else None, datetime.now(timezone.utc)
    )


def test_a_run_has_one_row_met_or_missed(pipeline: Pipeline, now: datetime, say: Callable[..., None]) -> None:
    contract = depot(deadline={"after_queueing": "30m"})
    say(sources={"depot": contract})
    model = SourceContract.model_validate(contract)
    ends = [now.replace(hour=0, minute=0) + timedelta(days=day) for day in (-2, -1, 0)]
    judge(pipeline, ends[0] - timedelta(minutes=5))
    pull(pipeline, ends[0])
    assert run_deadlines.ended(pipeline.connect, model, facts("one", ends[0]))[1] is None
    # the second is missed, told, and ends well at last
    late = run_deadlines.missed(
        pipeline.connect, "ingest", "depot", facts("two", ends[1]), ends[1] + timedelta(minutes=30)
    )
    assert late.met is False
    deadlines.told(pipeline.connect, late)
    pull(pipeline, ends[1])
    _, there = run_deadlines.ended(pipeline.connect, model, facts("two", ends[1]))
    assert there is not None and there.run_id == "two" and there.reached_at is not None
    assert "late" in deadlines.how_late(there)
    # the third is published in time, and its last tasks end after the deadline: that is no miss
    pull(pipeline, ends[2])
    assert run_deadlines.ended(pipeline.connect, model, facts("three", ends[2]))[1] is None
    assert run_deadlines.missed(pipeline.connect, "ingest", "depot", facts("three", ends[2]), now).met is True
    found = pipeline.at_warehouse(
        "select run_id, met, reached_at is not null from ledger.deadline where run_id is not null order by about"
    )
    assert found == [("one", True, True), ("two", False, True), ("three", True, True)]


def test_backfills_and_runs_by_hand_leave_no_row_but_bring_what_is_waited_for(
    pipeline: Pipeline, now: datetime, say: Callable[..., None]
) -> None:
    contract = depot(deadline={"after_queueing": "30m"})
    say(sources={"depot": contract})
    model = SourceContract.model_validate(contract)
    midnight = now.replace(hour=0, minute=0)
    late = run_deadlines.missed(
        pipeline.connect, "ingest", "depot", facts("late", midnight), midnight + timedelta(minutes=30)
    )
    deadlines.told(pipeline.connect, late)
    pull(pipeline, midnight, backfill=True)
    assert run_deadlines.ended(pipeline.connect, model, facts("past", midnight, "backfill"))[1] is None
    pull(pipeline, now)
    _, there = run_deadlines.ended(pipeline.connect, model, facts("by hand", now, "manual"))
    assert there is not None and there.run_id == "late"
    slow = facts("slow", now, "manual")
    slow = replace(slow, started_at=slow.started_at - timedelta(hours=1))
    _, there = run_deadlines.ended(pipeline.connect, model, slow)
    assert there is not None and there.run_id == "slow", "it was late as well, and somebody waited for it"
    assert pipeline.at_warehouse("select run_id from ledger.deadline") == [("late",)]


def test_who_heard_of_the_failure_is_known_when_the_deadline_passes(
    pipeline: Pipeline, now: datetime, say: Callable[..., None]
) -> None:
    say(sources={"depot": depot(deadline={"at": "11:00"})})
    judge(pipeline, now - timedelta(hours=2))
    run_deadlines.failed(pipeline.connect, "ingest", "depot")
    (finding,) = deadlines.watch(pipeline.connect, lambda dag_id, dates: True, now)
    assert finding.deadline.failed_at is not None


def publish(pipeline: Pipeline, run_id: str) -> None:
    """What a transform leaves in the ledger when it builds on raw as it is, and publishes."""
    with connected(pipeline.connect("warehouse_transformer")) as session:
        reached.note_built_from(session, "depot", run_id, ["depot"])
        session.execute(
            "insert into ledger.publication (transform, run_id, relations, built_from)"
            " select transform, run_id, '{}', built_from from ledger.candidate"
        )


def test_marts_are_late_until_they_are_built_from_the_days_data(
    pipeline: Pipeline, now: datetime, say: Callable[..., None]
) -> None:
    say(sources={"depot": depot()}, transforms={"depot": marts(deadline={"at": "11:00"})})
    midnight = now.replace(hour=0, minute=0)
    judge(pipeline, now - timedelta(hours=2))
    pull(pipeline, midnight - timedelta(days=1))
    publish(pipeline, "built from yesterday's")
    pull(pipeline, midnight)
    assert [over for rule, over, _ in judge(pipeline, now) if rule == "at"] == [False], (
        "raw has it, the marts do not"
    )
    publish(pipeline, "built from today's")
    assert [over for rule, over, _ in judge(pipeline, now) if rule == "at"] == [True]


def test_a_sync_is_late_until_it_has_delivered_the_days_data(
    pipeline: Pipeline, now: datetime, say: Callable[..., None]
) -> None:
    sync = marts(transform="depot", sync="crm", model="contacts", key="id", mapping={"id": "id"})
    sync |= {"destination": {"type": "postgres", "connection": "crm", "table": "crm.contacts", "key": "id"}}
    del sync["sources"], sync["select"]
    late = {"deadline": {"at": "11:00"}, "freshness": "12h", "alerts": ANYBODY}
    say(sources={"depot": depot()}, transforms={"depot": marts()}, syncs={"crm": sync | late})

    def deliver(status: str) -> None:
        pipeline.at_warehouse(
            "insert into ledger.sync_run (sync, run_id, model_version, status, finished_at, read, unchanged, creates,"
            " updates, held) select 'crm', %s, format('activation_v%%s.contacts', max(publication_id)), %s,"
            " clock_timestamp(), 0, 0, 0, 0, 0 from ledger.publication", status, status,
        )  # fmt: skip

    judge(pipeline, now - timedelta(hours=2))
    pull(pipeline, now.replace(hour=0, minute=0) - timedelta(days=1))
    publish(pipeline, "yesterday's")
    deliver("delivered")
    pull(pipeline, now.replace(hour=0, minute=0))
    publish(pipeline, "today's")
    deliver("failed")
    assert [(rule, over) for rule, over, _ in judge(pipeline, now)] == [("at", False), ("freshness", False)]
    deliver("delivered")
    assert [(rule, over) for rule, over, _ in judge(pipeline, now)] == [("at", True), ("freshness", True)]


def test_freshness_counts_from_the_data_and_not_from_green_runs(
    pipeline: Pipeline, now: datetime, say: Callable[..., None]
) -> None:
    say(sources={"depot": depot()}, transforms={"depot": marts(freshness="2h")})
    TransformContract.model_validate(marts(freshness="2h"))
    assert judge(pipeline, now) == [], "who has nothing yet has nothing old"
    pull(pipeline, now)
    publish(pipeline, "first")
    assert judge(pipeline, now) == []
    # the source goes on being read and published, and nothing new comes from it
    pull(pipeline, now + timedelta(hours=2))
    publish(pipeline, "green")
    ((rule, over, what),) = judge(pipeline, now + timedelta(hours=2))
    assert (rule, over) == ("freshness", False)
    assert f"is of {now - timedelta(hours=1):%Y-%m-%d %H:%M:%S} UTC; allowed age 2h" in what
    assert judge(pipeline, now + timedelta(hours=2)) == []
    pipeline.at_source("insert into depot.items values (2, %s)", now + timedelta(hours=2))
    pull(pipeline, now + timedelta(hours=2, minutes=1))
    publish(pipeline, "fresh")
    assert [(rule, over) for rule, over, _ in judge(pipeline, now + timedelta(hours=3))] == [
        ("freshness", True)
    ]
    # and when nothing runs at all, it grows old by itself
    assert [(rule, over) for rule, over, _ in judge(pipeline, now + timedelta(hours=5))] == [
        ("freshness", False)
    ]


def test_a_component_is_told_once_until_it_lives_again(pipeline: Pipeline, now: datetime) -> None:
    assert deadlines.alive(pipeline.connect, "triggerer", healthy=False, since=now) is None, (
        "it may be starting"
    )
    dead = deadlines.alive(pipeline.connect, "triggerer", healthy=False, since=now)
    assert dead is not None
    deadlines.told(pipeline.connect, dead)
    assert deadlines.alive(pipeline.connect, "triggerer", healthy=False, since=now) is None
    again = deadlines.alive(pipeline.connect, "triggerer", healthy=True, since=now + timedelta(minutes=9))
    assert again is not None and again.reached_at is not None
    assert (
        deadlines.alive(pipeline.connect, "triggerer", healthy=True, since=now + timedelta(minutes=10))
        is None
    )


_CALLED_BACK = """
import asyncio, json, sys
from plugins.tasks.deadlines import missed_deadline

for context in json.loads(sys.argv[1]):
    asyncio.run(missed_deadline("ingest", "depot", context))
"""


def test_who_is_told_when_airflow_finds_a_run_late(
    pipeline: Pipeline, now: datetime, say: Callable[..., None], tmp_path: Path
) -> None:
    """Nobody of a backfill, nor of a run that was told as failed; else engineers and consumers, once."""
    say(sources={"depot": depot(alerts={**ANYBODY, "on_failure": ["engineers"]})})
    midnight = now.replace(hour=0, minute=0)

    def context(run_id: str, run_type: str, state: str, days: int) -> dict[str, Any]:
        end = (midnight - timedelta(days=days)).isoformat()
        run = {
            "dag_id": "ingest__depot",
            "dag_run_id": run_id,
            "run_type": run_type,
            "state": state,
            "run_after": end,
        }
        run |= {"data_interval_end": end, "queued_at": end, "start_date": None}
        return {"dag_run": run, "deadline": {"id": "x", "deadline_time": end}}

    contexts = [
        context("past", "backfill", "running", 3),
        context("broken", "scheduled", "failed", 2),
        context("slow", "scheduled", "running", 1),
        context("by hand", "manual", "running", 0),
    ]
    channels = {
        f"AIRFLOW_CONN_{name.upper()}": json.dumps(
            {"conn_type": "apprise", "extra": {"config": {"path": f"alertlog://{tmp_path}/{name}"}}}
        )
        for name in ("engineers", "consumers")
    }
    stores = {
        f"AIRFLOW_CONN_{name.upper()}": pipeline.connect(name).postgres_uri()
        for name in ("warehouse_loader", "warehouse_developer")
    }
    called = subprocess.run(
        [sys.executable, "-c", _CALLED_BACK, json.dumps(contexts)],
        cwd=tmp_path,
        env={
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(tmp_path),
            "PYTHONPATH": str(PROJECT_ROOT),
            "AIRFLOW_HOME": str(tmp_path),
            "AIRFLOW_CONFIG": str(PROJECT_ROOT / "airflow.cfg"),
            "MILLRACE_CONTRACTS": str(tmp_path),
            **channels,
            **stores,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert called.returncode == 0, called.stderr[-2000:]
    heard = {name: (tmp_path / name).read_text(encoding="utf-8") for name in ("engineers", "consumers")}
    # it is one incident, which is still open when the run by hand is late too
    assert re.findall(r"^  Run: +(.*)$", heard["engineers"], re.MULTILINE) == ["slow"]
    assert heard["consumers"].count("newer data is late") == 1
    counted = "select occurrences from ledger.incident where event = 'missed_deadline'"
    assert pipeline.at_warehouse(counted) == [(2,)]
    kept = pipeline.at_warehouse(
        "select run_id, met, told_at is not null from ledger.deadline order by about"
    )
    assert kept == [("broken", False, True), ("slow", False, True)]
