"""A load follows the ones before it: of the same server, and of a later moment. Otherwise only a full refresh is taken."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from include.core.contracts import SourceContract
from include.core.errors import TerminalError
from include.core.interval import Interval
from include.flows.extract import extract
from include.flows.load import audit, stage
from include.flows.publish import publish
from include.stack import postgres
from include.stack.home import Home
from tests.support.own_server import at_server, lead_to, server
from tests.support.pipeline import Pipeline, contract
from tests.support.store import COLUMNS, CUSTOMERS, ORDERS

TABLES = """
create table customers (id int primary key, email text);
create table orders (id int primary key, customer int, total numeric(12,2), note text, extra jsonb,
                     updated_at timestamptz not null default clock_timestamp());
insert into customers select i, 'other' || i || '@example.com' from generate_series(1, 45) i;
insert into orders (id, customer, total) select i, 1, i from generate_series(1, 900) i;
"""


def landed(shop: Pipeline) -> int:
    """Loads that have put anything into the landing zone."""
    return int(shop.at_warehouse("select count(*) from ledger.load where manifest is not null")[0][0])


@pytest.mark.parametrize(
    ("stream", "columns"), [(CUSTOMERS, "id, email"), (ORDERS, COLUMNS)], ids=["snapshot", "incremental"]
)
def test_another_server_behind_the_connection_is_not_mixed_in(
    shop: Pipeline, database: Callable[..., str], stream: dict[str, Any], columns: str
) -> None:
    store, raw = contract("store", [stream]), f"raw_store.{stream['name']}"
    shop.pull(store)
    before = shop.at_warehouse(f"select * from {raw} order by id")
    lead_to(shop, database("other"))
    shop.at_source(TABLES)
    with pytest.raises(TerminalError, match="another server"):
        shop.pull(store)
    assert landed(shop) == 1  # it was not even read
    assert shop.at_warehouse(f"select * from {raw} order by id") == before
    shop.pull(store, full_refresh=True)
    assert shop.same(stream["name"], raw, columns)
    shop.pull(store)


def test_a_backfill_of_another_server_is_refused_though_it_asks_for_everything(
    shop: Pipeline, both: SourceContract, database: Callable[..., str]
) -> None:
    shop.pull(both)
    lead_to(shop, database("other"))
    shop.at_source(TABLES)
    today = datetime.now(timezone.utc)
    with pytest.raises(TerminalError, match="another server"):
        shop.pull(both, Interval(today - timedelta(days=1), today), backfill=True, full_refresh=True)


def test_a_source_that_was_restored_from_a_backup_is_read_on_only_anew(
    pipeline: Pipeline, both: SourceContract, tmp_path: Path
) -> None:
    home = Home(tmp_path)
    who = postgres.initialise(home, "secret")
    with server(who) as uri:
        lead_to(pipeline, uri)
        pipeline.at_source(TABLES)
    at_server(who, "cp", "-a", "data", "backup")
    with server(who) as uri:
        lead_to(pipeline, uri)
        pipeline.pull(both)
        for number in (5001, 5002, 5003):
            pipeline.at_source("insert into orders (id, customer, total) values (%s, 1, 1)", number)
        pipeline.pull(both)
    at_server(who, "rm", "-r", "data")
    at_server(who, "mv", "backup", "data")
    with server(who) as uri:
        lead_to(pipeline, uri)
        with pytest.raises(TerminalError, match="gone back in time"):
            pipeline.pull(both)
        assert landed(pipeline) == 2
        assert pipeline.at_warehouse("select count(*) from raw_store.orders where id > 5000") == [(3,)]
        pipeline.pull(both, full_refresh=True)
        assert pipeline.same("orders", "raw_store.orders", COLUMNS)
        pipeline.pull(both)


def test_what_has_landed_is_judged_again_before_it_is_published(shop: Pipeline, both: SourceContract) -> None:
    shop.pull(both)
    run = shop.run(both)
    load = extract(run, Interval(None, datetime.now(timezone.utc)))
    for step in (stage, audit):
        for stream in load.streams:
            step(run, load.load_id, stream)
    shop.at_warehouse("update ledger.watermark set position = array[position[1] + 1000000, 0]")
    with pytest.raises(TerminalError, match="gone back in time"):
        publish(run, load.load_id)
