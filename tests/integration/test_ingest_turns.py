"""One load of a source at a time, and not before what it may forget is committed."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import psycopg
import pytest

from include.core.contracts import SourceContract
from include.core.errors import (
    LeaseHeld,
    SourceForbidden,
    StaleLoad,
)
from include.core.interval import Interval
from include.flows.extract import extract, horizon
from include.flows.load import audit, stage
from include.flows.publish import close, publish
from include.flows.setup import set_up_warehouse
from include.warehouse import ledger
from tests.support.pipeline import PASSWORDS, Pipeline, contract
from tests.support.store import COLUMNS, CUSTOMERS, ORDERS


def test_a_transaction_that_commits_late_is_not_lost(shop: Pipeline, both: SourceContract) -> None:
    shop.pull(both)
    with psycopg.connect(shop.source) as late:
        late.execute("insert into orders (id, customer, total, updated_at) values (3000, 1, 1, now())")
        end = datetime.now(timezone.utc)
        found = horizon(shop.run(both), end)
        assert not found.passed and "open since" in found.blockers[0]
        # Whoever does not wait reads without it, and a watermark at `end` would leave it behind for ever.
        late.commit()
    assert horizon(shop.run(both), end).passed
    shop.pull(both, Interval(None, end))
    assert shop.same("orders", "raw_store.orders", COLUMNS)


def test_horizon_counts_transactions_that_have_written_nothing_and_prepared_ones(
    shop: Pipeline, both: SourceContract
) -> None:
    with psycopg.connect(shop.source) as idle:
        idle.execute("select 1")
        assert not horizon(shop.run(both), datetime.now(timezone.utc)).passed
    with psycopg.connect(shop.source, autocommit=True) as session:
        session.execute("begin")
        session.execute("insert into orders (id, updated_at) values (4000, now())")
        session.execute("prepare transaction 'two phases'")
        try:
            found = horizon(shop.run(both), datetime.now(timezone.utc))
            assert not found.passed and "two phases" in found.blockers[0]
        finally:
            session.execute("commit prepared 'two phases'")
    assert horizon(shop.run(both), datetime.now(timezone.utc)).passed
    future = horizon(shop.run(both), datetime.now(timezone.utc) + timedelta(minutes=5))
    assert not future.passed and "clock" in future.blockers[0]


def test_a_role_that_cannot_see_other_transactions_is_refused(shop: Pipeline, both: SourceContract) -> None:
    shop.at_source("drop role if exists blind; create role blind login password 'blind'")
    shop.at_source(
        "grant usage on schema public to blind; grant select on all tables in schema public to blind"
    )
    source = shop.connections["source"]
    shop.connections["source"] = type(source)(
        "source", "postgres", source.host, source.port, "blind", "blind", source.schema
    )
    try:
        with pytest.raises(SourceForbidden, match="grant pg_read_all_stats to blind"):
            horizon(shop.run(both), datetime.now(timezone.utc))
    finally:
        shop.at_source("drop owned by blind; drop role blind")


def test_only_one_run_loads_a_source_at_a_time(shop: Pipeline, both: SourceContract) -> None:
    end = Interval(None, datetime.now(timezone.utc))
    first = shop.run(both, "first")
    landed = extract(first, end)
    with pytest.raises(LeaseHeld, match="'first'"):
        extract(shop.run(both, "second"), end)
    close(first, landed.load_id)
    shop.pull(both, run_id="second")


def test_a_worker_that_slept_while_another_took_over_writes_nothing(
    shop: Pipeline, both: SourceContract
) -> None:
    stale = shop.run(both, "stale")
    landed = extract(stale, Interval(None, datetime.now(timezone.utc)))
    for step in (stage, audit):
        for stream in landed.streams:
            step(stale, landed.load_id, stream)
    shop.at_warehouse("update ledger.lease set expires_at = now() - interval '1 second'")
    shop.at_source("update orders set note = 'newer', updated_at = clock_timestamp() where id = 1")
    shop.pull(both, run_id="replacement")
    with pytest.raises(StaleLoad):
        publish(stale, landed.load_id)
    assert shop.at_warehouse("select note from raw_store.orders where id = 1") == [("newer",)]
    assert shop.same("orders", "raw_store.orders", COLUMNS)


def test_a_step_that_is_silent_for_long_keeps_its_turn(
    shop: Pipeline, both: SourceContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "LEASE", timedelta(seconds=1))
    now = Interval(None, datetime.now(timezone.utc))
    slow, other = shop.run(both, "slow"), shop.run(both, "other")
    with ThreadPoolExecutor(1) as background, psycopg.connect(shop.source) as busy:
        busy.execute("lock table orders in access exclusive mode")
        landing = background.submit(extract, slow, now)
        time.sleep(3)  # three times the lease
        with pytest.raises(LeaseHeld, match="'slow'"):
            extract(other, now)
        busy.rollback()
        landed = landing.result()
    time.sleep(1.5)  # nobody works on it any more, as after a kill
    taken = extract(other, now)
    with pytest.raises(StaleLoad):
        stage(slow, landed.load_id, "orders")
    close(other, taken.load_id)


def test_setting_the_warehouse_up_again_waits_for_no_load(shop: Pipeline, both: SourceContract) -> None:
    """As every `millrace up` does, while a load is in the middle of its publication."""
    shop.pull(both)
    with psycopg.connect(shop.warehouse) as publishing:
        publishing.execute("select * from ledger.watermark")
        publishing.execute("update ledger.load_stream set staged = staged")
        with psycopg.connect(shop.warehouse, autocommit=True) as impatient:
            impatient.execute("alter role current_user set lock_timeout = '5s'")
        try:
            set_up_warehouse(shop.warehouse, PASSWORDS)
        finally:
            with psycopg.connect(shop.warehouse, autocommit=True) as impatient:
                impatient.execute("alter role current_user reset lock_timeout")
        publishing.execute("update ledger.load set status = status")


def test_a_past_run_is_known_by_the_streams_that_have_stamps(shop: Pipeline, both: SourceContract) -> None:
    """A stream that is read whole now keeps the watermark of the time when it was not; it tells nothing any more."""
    begin = datetime.now(timezone.utc) - timedelta(hours=2)
    hour = timedelta(hours=1)
    shop.pull(contract("store", [CUSTOMERS, ORDERS]), Interval(begin, begin + hour))
    whole = ORDERS | {"mode": "snapshot", "cursor": None, "deletes": "snapshot"}
    stamped = CUSTOMERS | {
        "mode": "incremental",
        "cursor": "seen",
        "columns": CUSTOMERS["columns"] | {"seen": {"type": "timestamp with time zone"}},
    }
    shop.at_source("alter table customers add column seen timestamptz default now()")
    changed = contract("store", [stamped | {"deletes": "none"}, whole])
    shop.pull(changed, Interval(begin + hour, begin + 2 * hour))
    assert shop.pull(changed, Interval(begin + hour, begin + 2 * hour)).kind == "backfill"
