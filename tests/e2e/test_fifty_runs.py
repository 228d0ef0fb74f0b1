"""Fifty runs of one source, by schedule, by hand and as a backfill, some at once: each is followed, none is forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest

from tests.e2e.conftest import Demo
from tests.support.lifecycle import Lifecycle, Run, until

RUNS, BY_HAND = 50, 19
PRODUCER, CONSUMER = "ingest__till", "transform__till"
_SOURCE = """
source: till
kind: postgres
connection: depot
description: The items of the depot, once more.
owner: {{team: depot-team, contact: depot@example.com}}
alerts: {{on_failure: [alerts]}}
deadline: {{after_queueing: 1h}}
retry: {{attempts: 3, delay: 1s}}
schedule: {{cron: "0 0 * * *", start: {start}}}
keeps: forever
errors_tolerated: 0
lateness: 0s
upstreams: []
streams:
  - name: items
    table: depot.items
    primary_key: [item_id]
    mode: incremental
    cursor: updated_at
    deletes: none
    columns:
      item_id: {{type: bigint}}
      updated_at: {{type: timestamp with time zone, not_null: true}}
"""
# Nothing of it comes from the till; what is asked is when it is built.
_TRANSFORM = """
transform: till
description: Products, built after each publication of the till.
sources: [till]
select: [+dim_products]
owner: {team: depot-team, contact: depot@example.com}
alerts: {on_failure: [alerts]}
deadline: {after_queueing: 1h}
retry: {attempts: 2, delay: 1s}
"""
_EVENTS = (
    "select e.id, e.source_run_id, e.timestamp from asset_event e join asset a on a.id = e.asset_id"
    " where a.name = 'raw_till' order by e.timestamp"
)
_TAKEN = (
    "select d.run_id, d.run_type, x.event_id from dag_run d left join dagrun_asset_event x on x.dag_run_id = d.id"
    " where d.dag_id = 'transform__till'"
)
_BEGUN = "select start_date from task_instance where dag_id = 'transform__till' and task_id = 'begin' and state = 'success'"


@pytest.fixture
def till(lifecycle: Lifecycle, depot: str, first_demo: Demo) -> Iterator[Lifecycle]:
    """A source that was never read, and what is built on it; the shop has its marts back afterwards."""
    lifecycle.quiet()
    start = datetime.now(timezone.utc).date() - timedelta(days=40)
    files = {
        lifecycle.contracts / "sources" / "till.yaml": _SOURCE.format(start=start),
        lifecycle.contracts / "transforms" / "till.yaml": _TRANSFORM,
    }
    for file, text in files.items():
        file.write_text(text)
    try:
        until(lambda: {PRODUCER, CONSUMER} <= set(lifecycle.api.dag_ids()), "the till to appear")
        yield lifecycle
    finally:
        lifecycle.quiet()
        for file in files:
            file.unlink()
        assert lifecycle.done("transform__shop").state == "success"


@pytest.mark.long
def test_each_publication_is_followed_and_none_is_forgotten(till: Lifecycle) -> None:
    first = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0) - timedelta(days=39)
    until(
        lambda: till.at("airflow", "select 1 from dag_run where dag_id = %s", PRODUCER),
        "its first scheduled run",
    )
    backfill = till.api.call(
        "POST",
        "/api/v2/backfills",
        json={
            "dag_id": PRODUCER,
            "from_date": f"{first:%Y-%m-%d}T00:00:00Z",
            "to_date": f"{first + timedelta(days=RUNS - BY_HAND - 2):%Y-%m-%d}T00:00:00Z",
            "max_active_runs": 3,
            "dag_run_conf": {},
        },
    )
    by_hand = [till.trigger(PRODUCER) for _ in range(BY_HAND)]
    assert {run.state for run in till.backfilled(backfill["id"])} == {"success"}
    assert {till.ended(run).state for run in by_hand} == {"success"}
    till.quiet()
    _followed(till, RUNS)

    # One that Airflow tells nobody of: it queues nothing for a DAG that is paused.
    till.api.call("PATCH", f"/api/v2/dags/{CONSUMER}", json={"is_paused": True})
    last = till.done(PRODUCER)
    till.api.call("PATCH", f"/api/v2/dags/{CONSUMER}", json={"is_paused": False})
    runs = len(_runs(till))
    # as if that was some minutes ago
    till.at(
        "warehouse",
        "update ledger.load set published_at = published_at - interval '5 minutes' where source = 'till'",
    )
    till.at(
        "warehouse",
        "update ledger.candidate set begun_at = begun_at - interval '5 minutes' where transform = 'till'",
    )
    assert till.done("maintain").state == "success"
    till.quiet()
    assert len(_runs(till)) == runs + 1
    assert till.done("maintain").state == "success"
    till.quiet()
    assert len(_runs(till)) == runs + 1, "it was started once"
    assert till.state(last) == "success"


def _runs(till: Lifecycle) -> set[str]:
    return {run_id for run_id, *_ in till.at("airflow", _TAKEN)}


def _followed(till: Lifecycle, producers: int) -> None:
    """Each producer has published once; each event was taken by one run at most, and each run was started by at least one;
    what no run has taken was there before the next one began."""
    published = "select run_id from ledger.load where source = 'till' and status = 'published'"
    loads = [run_id for (run_id,) in till.at("warehouse", published)]
    events = till.at("airflow", _EVENTS)
    assert len(loads) == len(set(loads)) == producers
    assert sorted(run_id for _, run_id, _ in events) == sorted(loads)

    taken = till.at("airflow", _TAKEN)
    ids = [event for _, _, event in taken if event is not None]
    assert len(ids) == len(set(ids)), "an event was taken twice"
    assert set(ids) <= {event for event, *_ in events}
    started = {(run_id, kind) for run_id, kind, event in taken if event is not None}
    assert {kind for _, kind in started} == {"asset_triggered"}
    assert {run_id for run_id, _ in started} == _runs(till), "a run without an event"
    assert {till.ended(Run(CONSUMER, run_id)).state for run_id, _ in started} == {"success"}

    begun = [moment for (moment,) in till.at("airflow", _BEGUN)]
    unseen = [at for _, _, at in events if not any(moment > at for moment in begun)]
    assert unseen == [], "published after the last run began"
    print(f"{len(events)} publications, {len(ids)} of them given to {len(started)} runs of the transform")
