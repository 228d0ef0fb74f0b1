"""Reverse ETL into a table: only what changed, each answer remembered, nothing lost and nothing twice."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import psycopg
import pytest

from include import activation
from include.core.errors import (
    BreakerTripped,
    ContractError,
    LeaseHeld,
    TerminalError,
    TransientError,
    Unreachable,
)
from tests.support.activation import (
    COLUMNS,
    Crm,
    Warehouse,
    contract,
    crm,
    deliver_and_kill,
    deliverer,
    free_port,
    people,
    wait_for,
    warehouse,
)

QUICK = activation.Backoff(tries=3, first=0.05, longest=0.2)


@pytest.fixture
def source(database: Callable[..., str]) -> Warehouse:
    made = warehouse(database("warehouse"))
    made.publish(people(1000))
    return made


@pytest.fixture
def target(database: Callable[..., str]) -> Crm:
    return crm(database("crm"))


def model(source: Warehouse) -> set[tuple[object, ...]]:
    return set(source.execute(f"select {', '.join(COLUMNS)} from activation.contacts"))


def deliver(source: Warehouse, target: Crm, **changes: object) -> activation.SyncReport:
    return activation.run(
        contract(**changes), source.connection, target.connection, run_id="test", backoff=QUICK
    )


def test_first_run_sends_everything_and_the_second_nothing(source: Warehouse, target: Crm) -> None:
    first = deliver(source, target)
    assert (first.read, first.creates, first.delivered, first.unsent) == (1000, 1000, 1000, 0)
    assert first.model_version == "activation_v1.contacts"
    assert target.contacts() == model(source)
    written = target.execute("select max(updated_at) from crm.contacts")

    second = deliver(source, target)
    assert (second.read, second.unchanged, second.delivered) == (1000, 1000, 0)
    assert target.execute("select max(updated_at) from crm.contacts") == written
    assert [run["status"] for run in source.runs()] == ["delivered", "delivered"]


def test_only_changes_are_sent_and_other_columns_left_alone(source: Warehouse, target: Crm) -> None:
    deliver(source, target)
    target.execute("update crm.contacts set owner = 'Ada', notes = 'likes tea'")
    source.change(
        "update contacts set segment = 'vip', customer_value = 0.10 where external_id in ('c1', 'c500')"
    )
    source.change("update contacts set last_order_at = null where external_id = 'c7'")
    source.change("insert into contacts values ('new', null, 'New Person', 1.00, 'new', null)")

    report = deliver(source, target)

    assert (report.creates, report.updates, report.delivered, report.unchanged) == (1, 3, 4, 997)
    assert target.contacts() == model(source)
    assert target.execute(
        "select count(*) from crm.contacts where owner = 'Ada' and notes = 'likes tea'"
    ) == [(1000,)]


def test_values_arrive_exactly(source: Warehouse, target: Crm) -> None:
    target.execute(
        "create table crm.kinds (id bigint primary key, n numeric, f float8, b bytea, a text[], m numeric[],"
        " j jsonb, d date, t timestamptz, p timestamp, i interval, u uuid, o boolean, r int4range, s text)"
    )
    target.execute("grant select, insert, update on crm.kinds to crm_writer_of_tests")
    values = r"""
        select 9223372036854775807::bigint as id,
            123456789012345678901234567890.123456789012345678900::numeric as n,
            0.1::float8 + 0.2 as f,
            '\x00ff'::bytea as b,
            array['a"b', null, 'c,\d', E'tab\t'] as a,
            array[[1.10, 2], [3, 12345678901234567890.5]]::numeric[] as m,
            '{"z": 1.10, "ä": [null, "\\"]}'::jsonb as j,
            date 'infinity' as d,
            timestamptz '2024-03-31 01:59:59.123456+01' as t,
            timestamp '0044-03-15 12:00 BC' as p,
            interval '1 mon -2 days 3.5 s' as i,
            '8f14e45f-ceea-467f-9b2d-5f1e6d2a7c11'::uuid as u,
            true as o,
            '[1,5)'::int4range as r,
            E'quote '' back \\ new\nline \u2028 \U0001F600 ' as s
        union all
        select 1, 'NaN', 'NaN', null, '{}', null, '"text"', null,
            '-infinity', null, null, null, null, 'empty', ''
    """
    source.publish(values)
    columns = ["id", *"nfbamjdtpiuors"]
    kinds = contract(
        key="id",
        mapping={name: name for name in columns},
        destination={"type": "postgres", "connection": "crm", "table": "crm.kinds", "key": "id"},
    )
    report = activation.run(kinds, source.connection, target.connection, run_id="test")
    assert report.delivered == 2
    as_text = f"select row({', '.join(columns)})::text from {{}} order by id"
    assert target.execute(as_text.format("crm.kinds")) == source.execute(
        as_text.format("activation.contacts")
    )
    assert activation.run(kinds, source.connection, target.connection, run_id="test").unchanged == 2


def test_bad_records_harm_no_others_and_are_tried_again_up_to_a_ceiling(
    source: Warehouse, target: Crm
) -> None:
    target.execute("alter table crm.contacts add check (customer_value >= 0), alter segment type varchar(10)")
    source.change("update contacts set customer_value = -1 where external_id in ('c3', 'c4')")
    source.change("update contacts set segment = 'much too long' where external_id = 'c900'")

    first = deliver(source, target, max_attempts=2)
    assert (first.delivered, first.rejected, first.unsent, first.status) == (997, 3, 0, "delivered")
    assert target.execute("select count(*) from crm.contacts") == [(997,)]
    records = source.records()
    assert records["c3"] == (
        "rejected",
        1,
        'new row for relation "contacts" violates check constraint "contacts_customer_value_check"'
        " [23514, contacts_customer_value_check]",
    )
    assert records["c900"][2].startswith("value too long for type character varying(10)")

    second = deliver(source, target, max_attempts=2)
    assert (second.creates, second.rejected, second.held, second.unchanged) == (3, 3, 0, 997)
    third = deliver(source, target, max_attempts=2)
    assert (third.creates, third.rejected, third.held, third.unchanged) == (0, 3, 3, 997)

    source.change("update contacts set customer_value = 5 where external_id = 'c3'")
    fourth = deliver(source, target, max_attempts=2)
    assert (fourth.delivered, fourth.rejected, fourth.held) == (1, 2, 2)
    assert source.records()["c3"] == ("delivered", 1, None)
    assert source.records()["c4"][:2] == ("rejected", 2)


def test_a_record_that_returns_to_what_was_acknowledged_is_no_longer_rejected(
    source: Warehouse, target: Crm
) -> None:
    deliver(source, target)
    target.execute("alter table crm.contacts add check (customer_value >= 0)")
    source.change("update contacts set customer_value = -1 where external_id = 'c3'")
    assert deliver(source, target).rejected == 1
    source.change("update contacts set customer_value = (3 * 1.37)::numeric(14, 2) where external_id = 'c3'")
    assert deliver(source, target).delivered == 1
    assert {status for status, _, _ in source.records().values()} == {"delivered"}
    assert deliver(source, target).delivered == 0


def test_a_plan_sends_and_remembers_nothing(source: Warehouse, target: Crm) -> None:
    planned = activation.plan(contract(), source.connection)
    assert (planned.creates, planned.planned, len(planned.samples)) == (1000, 1000, 5)
    assert planned.samples[0].action == "create"
    assert "example.com" in planned.samples[0].body
    assert "example.com" not in repr(planned)
    assert target.contacts() == set()
    assert source.runs() == []


def test_breaker_stops_before_anything_is_sent(source: Warehouse, target: Crm) -> None:
    deliver(source, target)
    source.change("update contacts set segment = 'lost!' where substr(external_id, 2)::int <= 400")
    with pytest.raises(BreakerTripped, match=r"400 of 1000 records \(40.0%\)"):
        deliver(source, target, max_change_share=0.3)
    assert target.execute("select count(*) from crm.contacts where segment = 'lost!'") == [(0,)]
    with pytest.raises(BreakerTripped):
        activation.plan(contract(max_change_share=0.3), source.connection)
    assert deliver(source, target, max_change_share=0.4).delivered == 400


@pytest.mark.parametrize(
    ("rows", "received"),
    [
        ("('c5', 'x@example.com', 'Twin', 0, 'vip', null)", "1 keys twice or more, 0 rows without one"),
        ("(null, null, null, 0, null, null)", "0 keys twice or more, 1 rows without one"),
    ],
)
def test_a_key_twice_or_null_stops_the_run(source: Warehouse, target: Crm, rows: str, received: str) -> None:
    source.change(f"insert into contacts values {rows}")
    with pytest.raises(TerminalError) as stopped:
        deliver(source, target)
    assert stopped.value.received == received
    assert "c5" not in str(stopped.value)  # a key may be somebody's address
    query = stopped.value.todo.partition("look at them: ")[2].partition(";")[0]
    assert len(source.execute(query)) == 1
    assert target.contacts() == set()


def test_what_is_missing_is_named(source: Warehouse, target: Crm) -> None:
    with pytest.raises(TerminalError, match="not published"):
        deliver(source, target, model="nothing")
    with pytest.raises(ContractError, match="tier"):
        deliver(source, target, mapping={name: name for name in COLUMNS} | {"segment": "tier"})
    with pytest.raises(ContractError, match="stage"):
        deliver(source, target, mapping={name: name for name in COLUMNS} | {"stage": "segment"})
    wrong = {"type": "postgres", "connection": "crm", "table": "crm.contacts", "key": "email"}
    with pytest.raises(ContractError, match="not unique"):
        deliver(source, target, key="email", destination=wrong)
    target.execute("revoke update on crm.contacts from crm_writer_of_tests")
    with pytest.raises(TerminalError, match="may not write"):
        deliver(source, target)


def test_a_second_writer_is_refused(source: Warehouse, target: Crm) -> None:
    with psycopg.connect(source.connection.postgres_uri(), autocommit=True) as other:
        other.execute("select pg_advisory_lock(hashtextextended('millrace.sync.contacts', 0))")
        with pytest.raises(LeaseHeld):
            deliver(source, target)
        # Looking is not writing.
        assert activation.plan(contract(), source.connection).creates == 1000
    assert deliver(source, target).delivered == 1000


def test_a_locked_row_does_not_hold_up_publication(source: Warehouse, target: Crm) -> None:
    """While a slow destination is served, the view of the model can be replaced."""
    with psycopg.connect(target.admin) as colleague:
        deliver(source, target)
        source.change("update contacts set segment = 'vip!' where external_id = 'c1'")
        colleague.execute("update crm.contacts set notes = 'on the phone' where external_id = 'c1'")
        process = deliverer(contract(), source.connection, target.connection)
        try:
            wait_for(lambda: source.execute("select 1 from ledger.sync_in_flight"))
            with psycopg.connect(source.admin) as publisher:
                publisher.execute("set lock_timeout = '1s'")
                publisher.execute(
                    "create or replace view activation.contacts as select * from activation_v1.contacts"
                )
                publisher.execute("drop view activation.contacts")
                publisher.rollback()
            colleague.commit()
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait()
    assert target.execute("select segment, notes from crm.contacts where external_id = 'c1'") == [
        ("vip!", "on the phone")
    ]


def test_killed_in_the_middle_again_and_again_ends_the_same(source: Warehouse, target: Crm) -> None:
    target.execute(
        "create function crm.slow() returns trigger language plpgsql as"
        " $$ begin perform pg_sleep(0.1); return null; end $$"
    )
    target.execute(
        "create trigger slow after insert or update on crm.contacts"
        " for each statement execute function crm.slow()"
    )
    target.execute(
        "create table crm.effects as select external_id, customer_value from crm.contacts with no data;"
        "create function crm.note() returns trigger language plpgsql security definer as $$ begin"
        " insert into crm.effects values (new.external_id, new.customer_value); return null; end $$;"
        "create trigger note after insert or update on crm.contacts for each row execute function crm.note()"
    )
    chance = random.Random(7)
    for _ in range(4):
        deliver_and_kill(contract(batch_size=20), source, target.connection, chance.uniform(0, 0.3))
    report = deliver(source, target)
    assert report.read == report.unchanged + report.delivered == 1000
    assert target.contacts() == model(source)
    # Sent twice perhaps, with one effect.
    assert target.execute("select count(*), count(distinct external_id) from crm.effects") == [(1000, 1000)]
    assert [run["status"] for run in source.runs()] == ["abandoned"] * 4 + ["delivered"]
    for run in source.runs():
        assert run["read"] == sum(
            run[name] for name in ("unchanged", "held", "delivered", "rejected", "unsent")
        )
    assert source.execute("select count(*) from ledger.sync_in_flight") == [(0,)]


def test_what_was_on_its_way_is_sent_again_even_if_the_model_went_back(
    source: Warehouse, target: Crm
) -> None:
    """Killed before the answer was kept, then the model goes back to what was acknowledged before."""
    deliver(source, target)
    source.change("update contacts set segment = 'vip!' where external_id = 'c1'")
    with psycopg.connect(source.admin) as blocker:
        # The answer cannot be written down.
        blocker.execute("select from ledger.sync_record where record_key = 'c1' for update")
        process = deliverer(contract(), source.connection, target.connection)
        wait_for(lambda: target.execute("select 1 from crm.contacts where segment = 'vip!'"))
        process.kill()
        process.wait()
    source.change("update contacts set segment = (array['vip', 'new', 'lost'])[2] where external_id = 'c1'")
    wait_for(
        lambda: not source.execute("select 1 from pg_stat_activity where usename = 'millrace_activator'")
    )
    assert deliver(source, target).updates == 1
    assert target.contacts() == model(source)


def test_a_destination_that_is_away(source: Warehouse, target: Crm) -> None:
    away = replace(target.connection, port=free_port())
    with pytest.raises(Unreachable):
        activation.run(contract(), source.connection, away, run_id="test")
    assert source.runs() == []


def test_a_session_that_breaks_is_replaced_and_the_rest_goes_on(source: Warehouse, target: Crm) -> None:
    target.execute(
        "create sequence crm.turns; grant usage on sequence crm.turns to crm_writer_of_tests;"
        "create function crm.trip() returns trigger language plpgsql security definer as $$ begin"
        " if nextval('crm.turns') in (3, 4, 9) then perform pg_terminate_backend(pg_backend_pid()); end if;"
        " return null; end $$;"
        "create trigger trip after insert on crm.contacts for each statement execute function crm.trip()"
    )
    assert deliver(source, target).delivered == 1000
    assert target.contacts() == model(source)


def test_a_destination_that_stays_locked_leaves_the_rest_for_the_next_run(
    source: Warehouse, target: Crm
) -> None:
    target.execute(
        "create table crm.closed (x int); grant select on crm.closed to crm_writer_of_tests;"
        "create function crm.trip() returns trigger language plpgsql security definer as $$ begin"
        " if (select count(*) from crm.contacts) > 300 and exists (select from crm.closed) then"
        " perform pg_terminate_backend(pg_backend_pid()); end if; return null; end $$;"
        "create trigger trip after insert on crm.contacts for each statement execute function crm.trip();"
        "insert into crm.closed values (1)"
    )
    with pytest.raises(TransientError, match="700 of 1000 records have no answer; 300 were delivered"):
        deliver(source, target)
    assert source.runs()[-1]["status"] == "incomplete"
    target.execute("delete from crm.closed")
    report = deliver(source, target)
    assert (report.unchanged, report.delivered) == (300, 700)
    assert target.contacts() == model(source)
    assert activation.settle(contract(), source.connection, run_id="test").delivered == 700


def test_exact_money_survives(source: Warehouse, target: Crm) -> None:
    source.change("update contacts set customer_value = 999999999999.99 where external_id = 'c1'")
    deliver(source, target)
    assert target.execute("select customer_value from crm.contacts where external_id = 'c1'") == [
        (Decimal("999999999999.99"),)
    ]
