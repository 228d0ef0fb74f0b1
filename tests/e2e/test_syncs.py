"""A mirror that a person has to approve, in the real scheduler: planned, approved, delivered, and what left is deleted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.lifecycle import Lifecycle, Run, until

DAG = "activate__mirror"
MODEL = "activation.activation_crm_contacts"
CONTRACT = """\
version: 1
sync: mirror
description: Segments, as the test's table mirrors them.
transform: shop
model: activation_crm_contacts
key: external_id
mode: mirror
destination: {type: postgres, connection: crm, table: crm.mirror, key: external_id}
mapping:
  external_id: external_id
  greeting: {template: "Dear {full_name}"}
  segment: segment
personal: [full_name]
approval: {above: 1}
verify: all
on_drift: overwrite
alerts: {on_warning: [alerts]}
owner: {team: tests, contact: tests@example.com}
deadline: {after_queueing: 1h}
retry: {attempts: 0}
"""


@pytest.fixture
def mirror(lifecycle: Lifecycle) -> Iterator[Lifecycle]:
    """A sync of the demo's model into a table of its own; in the end the model and the contracts are as before."""
    lifecycle.at("crm", "create table crm.mirror (external_id text primary key, greeting text, segment text)")
    lifecycle.at("crm", "grant select, insert, update, delete on crm.mirror to crm_writer")
    contract = lifecycle.contracts / "syncs" / "mirror.yaml"
    contract.write_text(CONTRACT)
    try:
        with _published(lifecycle):
            yield lifecycle
    finally:
        contract.unlink()
        lifecycle.at("crm", "drop table crm.mirror")


@contextmanager
def _published(lifecycle: Lifecycle) -> Iterator[None]:
    """The model as some run published it, or where none has, a small one."""
    view = lifecycle.value("warehouse", "select pg_get_viewdef(to_regclass(%s))", MODEL)
    if view is None:
        lifecycle.at("warehouse", _SMALL)
    try:
        yield
    finally:
        after = _REMOVED if view is None else f"create or replace view {MODEL} as {view}"
        lifecycle.at("warehouse", after)


_SMALL = f"""
create schema activation authorization millrace_transformer;
set role millrace_transformer;
create table activation.version as
select 'c' || i as external_id, 'Person ' || i as full_name, 'new' as segment from generate_series(1, 2000) i;
create view {MODEL} as select * from activation.version;
grant usage on schema activation to millrace_activator;
grant select on {MODEL} to millrace_activator;
"""
_REMOVED = "drop schema activation cascade"


def test_what_was_approved_is_delivered_and_what_left_is_deleted(mirror: Lifecycle) -> None:
    first = mirror.trigger(DAG)
    asked = _approve(mirror, first)
    assert "creates" in asked["body"]
    assert mirror.ended(first).state == "success"
    assert _there(mirror) == _model(mirror)
    by = "select approved_by from ledger.sync_run where sync = 'mirror' order by sync_run_id desc limit 1"
    assert mirror.value("warehouse", by) == "admin"

    # Somebody changes a record there. This run tells of it, and the next one sends it again.
    changed = mirror.value(
        "crm",
        "update crm.mirror set segment = 'theirs' where external_id = ("
        "select max(external_id) from crm.mirror) returning external_id",
    )
    run = mirror.ended(mirror.trigger(DAG))
    assert run.state == "success"
    told = mirror.alert_of(run, "has a warning at verify")
    assert "1 differ there and 0 are gone" in told
    assert "segment (1)" in told
    assert "theirs" not in told
    drift = "select record_key, fields from ledger.sync_drift where sync = 'mirror'"
    assert mirror.at("warehouse", drift) == [(changed, ["segment"])]
    assert mirror.ended(mirror.trigger(DAG)).state == "success"
    segment = "select segment from crm.mirror where external_id = %s"
    assert mirror.value("crm", segment, changed) != "theirs"
    assert mirror.at("warehouse", drift) == []

    # One record is no more than the contract lets go without asking.
    gone = mirror.value("warehouse", f"select min(external_id) from {MODEL}")
    _narrow(mirror, f"external_id <> '{gone}'")
    assert mirror.ended(mirror.trigger(DAG)).state == "success"
    assert gone not in _there(mirror)
    assert _there(mirror) == _model(mirror)

    _narrow(mirror, "false")
    emptied = mirror.ended(mirror.trigger(DAG))
    assert emptied.state == "failed"
    (failed,) = [one for one in mirror.api.tasks(DAG, emptied.run_id) if one["state"] == "failed"]
    assert failed["task_id"] == "plan"
    said = "\n".join(mirror.api.log_tail(failed))
    assert "the model is empty, and the destination would be emptied; nothing was sent" in said
    assert len(_there(mirror)) > 1000

    # Whoever says no sends nothing.
    refused = mirror.trigger(DAG, max_delete_share=1)
    _approve(mirror, refused, "Reject")
    assert mirror.ended(refused).state == "success"
    assert len(_there(mirror)) > 1000


def _approve(lifecycle: Lifecycle, run: Run, choice: str = "Approve") -> dict[str, str]:
    """Answer the question of a run through Airflow's API, once it is asked. Nothing was sent before."""
    before = _there(lifecycle)
    path = f"/api/v2/dags/{DAG}/dagRuns/{run.run_id}/taskInstances/approve/-1/hitlDetails"

    def asked() -> bool:
        states = {task["task_id"]: task["state"] for task in lifecycle.api.tasks(DAG, run.run_id)}
        assert states.get("plan") != "failed"
        return states.get("approve") == "awaiting_input"

    until(asked, f"{run} to ask")
    assert _there(lifecycle) == before
    details: dict[str, str] = lifecycle.api.call("GET", path)
    # As slowly as a person: a task that goes on before the scheduler has noted that it only waits may count as killed.
    time.sleep(15)
    lifecycle.api.call("PATCH", path, json={"chosen_options": [choice], "params_input": {}})
    return details


def _there(lifecycle: Lifecycle) -> set[str]:
    return {row[0] for row in lifecycle.at("crm", "select external_id from crm.mirror")}


def _model(lifecycle: Lifecycle) -> set[str]:
    return {row[0] for row in lifecycle.at("warehouse", f"select external_id from {MODEL}")}


def _narrow(lifecycle: Lifecycle, condition: str) -> None:
    """Let the published view show no more than this, as a faulty model would."""
    (version,) = lifecycle.at(
        "warehouse",
        "select distinct table_schema || '.' || table_name from information_schema.view_table_usage"
        " where view_schema || '.' || view_name = %s",
        MODEL,
    )
    lifecycle.at(
        "warehouse", f"create or replace view {MODEL} as select * from {version[0]} where {condition}"
    )
