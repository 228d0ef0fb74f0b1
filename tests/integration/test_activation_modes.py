"""Modes of a sync into a table: a mirror deletes what left the model; update creates and insert changes nothing."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from include import activation
from include.core.errors import BreakerTripped, TerminalError
from tests.support.activation import (
    COLUMNS,
    Crm,
    Warehouse,
    contract,
    crm,
    deliver_and_kill,
    execute,
    people,
    warehouse,
)

QUICK = activation.Backoff(tries=3, first=0.05, longest=0.2)


@pytest.fixture
def source(database: Callable[..., str]) -> Warehouse:
    made = warehouse(database("warehouse"))
    made.publish(people(200))
    return made


@pytest.fixture
def target(database: Callable[..., str]) -> Crm:
    made = crm(database("crm"))
    made.execute("grant delete on crm.contacts to crm_writer_of_tests")
    return made


def model(source: Warehouse) -> set[tuple[object, ...]]:
    return set(source.execute(f"select {', '.join(COLUMNS)} from activation.contacts"))


def deliver(source: Warehouse, target: Crm, **changes: object) -> activation.SyncReport:
    wanted = contract(**{"mode": "mirror", **changes})
    return activation.run(wanted, source.connection, target.connection, run_id="test", backoff=QUICK)


def leave(source: Warehouse, *keys: str) -> None:
    source.change(f"delete from contacts where external_id in ({', '.join(map(repr, keys))})")


def test_what_left_the_model_is_deleted_and_nothing_else(source: Warehouse, target: Crm) -> None:
    target.execute("insert into crm.contacts (external_id, email) values ('theirs', 'own@example.com')")
    deliver(source, target)
    leave(source, "c3", "c4")
    source.change("update contacts set segment = 'vip!' where external_id = 'c1'")

    planned = activation.plan(contract(mode="mirror"), source.connection)
    assert (planned.deletes, planned.updates, planned.planned) == (2, 1, 3)
    assert {(one.action, one.key) for one in planned.samples} == {
        *(("delete", "c3"), ("delete", "c4"), ("update", "c1"))
    }
    report = deliver(source, target)

    assert (report.read, report.unchanged, report.delivered) == (198, 197, 1)
    assert (report.deletes, report.deleted, report.deletes_rejected, report.deletes_unsent) == (2, 2, 0, 0)
    assert {row for row in target.contacts() if row[0] != "theirs"} == model(source)
    assert target.execute("select count(*) from crm.contacts where external_id = 'theirs'") == [(1,)]
    assert source.records()["c3"] == ("deleted", 1, None)
    assert deliver(source, target).deletes == 0
    assert activation.settle(contract(), source.connection, run_id="test").deletes == 0
    assert [run["deleted"] for run in source.runs()] == [0, 2, 0]


def test_a_key_that_returns_is_created_anew(source: Warehouse, target: Crm) -> None:
    deliver(source, target)
    row = source.execute("select * from activation.contacts where external_id = 'c3'")
    leave(source, "c3")
    deliver(source, target)
    source.execute("insert into activation_v1.contacts values (%s, %s, %s, %s, %s, %s)", *row[0])
    report = deliver(source, target)
    assert (report.creates, report.updates, report.delivered) == (1, 0, 1)
    assert target.contacts() == model(source)


def test_a_record_that_takes_over_what_a_deleted_one_had(source: Warehouse, target: Crm) -> None:
    """Deletes come first: else the new owner of a unique value would be refused."""
    target.execute("create unique index on crm.contacts (email)")
    deliver(source, target)
    source.change("update contacts set external_id = 'again' where external_id = 'c3'")
    report = deliver(source, target)
    assert (report.deleted, report.delivered, report.rejected) == (1, 1, 0)
    assert target.contacts() == model(source)


def test_what_others_still_need_is_refused_alone(source: Warehouse, target: Crm) -> None:
    deliver(source, target)
    target.execute("create table crm.deals (contact text references crm.contacts (external_id))")
    target.execute("insert into crm.deals values ('c7')")
    leave(source, "c6", "c7", "c8")
    for attempt in (1, 2):
        report = deliver(source, target, max_attempts=2)
        assert (report.deleted, report.deletes_rejected, report.deletes_held) == ((2, 0)[attempt - 1], 1, 0)
        status, attempts, reason = source.records()["c7"]
        assert (status, attempts) == ("rejected", attempt)
        assert "violates foreign key constraint" in reason
    held = deliver(source, target, max_attempts=2)
    assert (held.deletes, held.deletes_held) == (0, 1)
    target.execute("delete from crm.deals")
    assert deliver(source, target, max_attempts=3).deleted == 1


def test_an_emptied_model_empties_no_destination(source: Warehouse, target: Crm) -> None:
    deliver(source, target)
    before = target.contacts()
    source.change("delete from contacts")
    for allowed in (0.1, 0.99):
        with pytest.raises(BreakerTripped, match="the model is empty"):
            deliver(source, target, max_delete_share=allowed)
    assert target.contacts() == before
    assert deliver(source, target, max_delete_share=1).deleted == 200
    assert target.contacts() == set()


def test_the_delete_breaker_counts_what_the_destination_holds(source: Warehouse, target: Crm) -> None:
    deliver(source, target)
    source.change("delete from contacts where substr(external_id, 2)::int <= 21")
    with pytest.raises(BreakerTripped, match=r"21 of 200 records \(10.5%\)"):
        deliver(source, target)
    with pytest.raises(BreakerTripped):
        activation.plan(contract(mode="mirror"), source.connection)
    assert len(target.contacts()) == 200
    assert deliver(source, target, max_delete_share=0.11).deleted == 21
    # A few are no disaster, whatever their share.
    source.change("delete from contacts where substr(external_id, 2)::int <= 26")
    assert deliver(source, target, max_delete_share=0).deleted == 5


def test_the_right_to_delete_is_needed_by_a_mirror_alone(source: Warehouse, target: Crm) -> None:
    target.execute("revoke delete on crm.contacts from crm_writer_of_tests")
    assert deliver(source, target, mode="upsert").delivered == 200
    with pytest.raises(TerminalError, match="may not write") as refused:
        deliver(source, target)
    assert "grant select, insert, update, delete on crm.contacts" in refused.value.todo


def test_killed_among_deletes_and_creates_ends_as_the_model(source: Warehouse, target: Crm) -> None:
    target.execute(
        "create function crm.slow() returns trigger language plpgsql as"
        " $$ begin perform pg_sleep(0.05); return null; end $$;"
        "create trigger slow after insert or update or delete on crm.contacts"
        " for each statement execute function crm.slow()"
    )
    chance = random.Random(3)
    wanted = contract(mode="mirror", batch_size=10, max_delete_share=1)
    for turn in range(3):
        # What is on its way when it is killed leaves the model before anybody heard of it.
        deliver_and_kill(wanted, source, target.connection, chance.uniform(0, 0.2))
        source.change(f"delete from contacts where substr(external_id, 2)::int % 5 = {turn}")
    report = deliver(source, target, batch_size=10, max_delete_share=1)
    assert report.read == report.unchanged + report.delivered
    assert report.deletes == report.deleted
    assert target.contacts() == model(source)
    assert len(target.contacts()) == 80


def test_what_may_have_arrived_before_a_crash_is_deleted_too(source: Warehouse, target: Crm) -> None:
    deliver(source, target)
    run = source.runs()[-1]["sync_run_id"]
    # Sent, and the worker was gone before an answer was there.
    target.execute("insert into crm.contacts (external_id) values ('ghost')")
    source.execute("insert into ledger.sync_in_flight values ('contacts', %s, 99, '{ghost}')", run)
    report = deliver(source, target)
    assert (report.deletes, report.deleted) == (1, 1)
    assert target.contacts() == model(source)


def test_update_creates_nothing(source: Warehouse, target: Crm) -> None:
    target.execute("revoke insert on crm.contacts from crm_writer_of_tests")
    target.execute("insert into crm.contacts (external_id, notes) values ('c1', 'tea'), ('c2', 'milk')")
    report = deliver(source, target, mode="update", batch_size=30)
    assert (report.delivered, report.rejected) == (2, 198)
    assert source.records()["c3"] == ("rejected", 1, "not there")
    assert {row[0] for row in target.contacts()} == {"c1", "c2"}
    assert target.contacts() < model(source)
    target.execute("insert into crm.contacts (external_id) values ('c3')")
    assert deliver(source, target, mode="update").delivered == 1


def test_insert_changes_nothing_that_is_there(source: Warehouse, target: Crm) -> None:
    target.execute("revoke update on crm.contacts from crm_writer_of_tests")
    target.execute("insert into crm.contacts (external_id, email) values ('c1', 'old@example.com')")
    assert deliver(source, target, mode="insert").delivered == 200
    source.change("update contacts set segment = 'vip!' where external_id = 'c2'")
    assert deliver(source, target, mode="insert").unchanged == 200
    assert target.execute("select email from crm.contacts where external_id = 'c1'") == [("old@example.com",)]
    assert target.execute("select count(*) from crm.contacts where segment = 'vip!'") == [(0,)]


def test_the_state_of_an_older_version_is_taken_over(source: Warehouse, target: Crm) -> None:
    """A ledger that was made before there were deletes."""
    from include.activation.schema import STATE_DDL

    deliver(source, target, mode="upsert")
    source.execute("alter table ledger.sync_record drop column there, drop column action, drop column value")
    execute(source.admin, STATE_DDL)
    leave(source, "c9")
    assert deliver(source, target).deleted == 1
