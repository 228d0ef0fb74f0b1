"""The rate limit of a connection: shared by processes, paused for all, and not held by who dies."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from include import activation
from include.activation.pace import Pace
from include.core.connection import Connection
from include.core.errors import TransientError, Unreachable
from tests.support.activation import (
    ContactsServer,
    Warehouse,
    contacts_server,
    contract,
    deliverer,
    http_contract,
    people,
    warehouse,
)
from tests.support.hubspot_api import TOKEN, HubSpotApi
from tests.support.served import Window, served

_TAKE = """
import asyncio, sys, time
from include.activation.pace import Pace
from include.core.connection import parse_connection
async def main():
    pace = Pace(parse_connection("warehouse", sys.argv[1]), "crm", "20/1s")
    async def one():
        assert await pace.token() == 0
        print(time.time(), flush=True)
    await asyncio.gather(*(one() for _ in range(30)))
asyncio.run(main())
"""


@pytest.fixture
def source(database: Callable[..., str]) -> Warehouse:
    return warehouse(database("warehouse"))


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ContactsServer]:
    with contacts_server(tmp_path, "--rate", "20", "--per", "2") as server:
        yield server


def test_two_processes_together_keep_the_rate(source: Warehouse) -> None:
    command = [sys.executable, "-c", _TAKE, source.connection.postgres_uri()]
    folder = Path(__file__).parents[2]
    takers = [subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    moments = sorted(float(line) for taker in takers for line in taker.communicate(timeout=60)[0].split())
    assert [taker.returncode for taker in takers] == [0, 0]
    assert len(moments) == 60
    # 2 at once and 19 a second make three seconds; each process by itself would need half of that.
    assert moments[-1] - moments[0] > 2.3


def test_two_syncs_of_a_connection_see_no_429(source: Warehouse, api: ContactsServer) -> None:
    """The server takes twenty requests in each two seconds, whoever sends them."""
    source.publish(people(400))
    limited = [
        http_contract(sync=name, batch_size=20, concurrency=8, rate_limit="15/2s")
        for name in ("contacts", "newsletter")
    ]
    processes = [deliverer(one, source.connection, api.connection) for one in limited]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert source.execute("select sync, status, delivered from ledger.sync_run order by 1") == [
        ("contacts", "delivered", 400),
        ("newsletter", "delivered", 400),
    ]
    assert api.fault("none", times=0)["refused"] == 0
    assert api.requests() == 40
    assert source.execute("select connection from ledger.rate_limit") == [("contacts_api",)]


def test_retry_after_pauses_everybody(source: Warehouse) -> None:
    async def paused() -> tuple[float, float, float]:
        one, other = (Pace(source.connection, "crm", "100/1s") for _ in range(2))
        assert await one.token() == 0
        await one.pause(0.7)
        started = time.monotonic()
        assert await other.token() == 0
        waited = time.monotonic() - started
        await other.pause(600)
        told = await one.token()
        elsewhere = await Pace(source.connection, "other", "100/1s").token()
        for pace in (one, other):
            pace.close()
        return waited, told, elsewhere

    waited, told, elsewhere = asyncio.run(paused())
    assert waited >= 0.5
    assert 500 < told <= 600
    assert elsewhere == 0


def test_an_api_that_asks_for_patience_is_left_alone_by_every_sync(source: Warehouse) -> None:
    source.publish(people(20))
    api = HubSpotApi(Window(1, 600))
    with served(api.application) as server:
        target = {
            "type": "http",
            "connection": "hubspot",
            "api": "hubspot_contacts",
            "key": "external_id",
            "rate_limit": "100/1s",
        }
        connection = server.connection("hubspot", password=TOKEN)
        for name in ("contacts", "newsletter"):
            sync = contract(sync=name, destination=target, batch_size=10)
            with pytest.raises(TransientError, match="HTTP 429"):
                activation.run(sync, source.connection, connection, run_id="test")
    # The second batch of the first sync was told to wait; the other sync asked for nothing.
    assert [run["delivered"] for run in source.runs()] == [10, 0]
    assert (len(api.requests), api.refused) == (1, 1)
    assert source.execute("select paused_until > now() + interval '500 s' from ledger.rate_limit") == [
        (True,)
    ]


def test_what_a_dead_process_was_promised_comes_back_with_time(source: Warehouse) -> None:
    """Nobody holds the bucket: a process that took tokens and died delays others by those, and no longer."""

    async def take(count: int) -> None:
        pace = Pace(source.connection, "crm", "50/1s")
        await asyncio.gather(*(pace.token() for _ in range(count)))
        pace.close()

    asyncio.run(take(1))
    source.execute("update ledger.rate_limit set tokens = -40")
    started = time.monotonic()
    asyncio.run(take(1))
    assert time.monotonic() - started > 0.5
    assert source.execute("select tokens > -41 from ledger.rate_limit") == [(True,)]


def test_a_token_costs_one_short_statement_for_all_that_wait(
    source: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    pace = Pace(source.connection, "crm", "100000/1s")
    statements = 0
    take = pace._take

    def counted(count: int) -> tuple[float, float]:
        nonlocal statements
        statements += 1
        return take(count)

    monkeypatch.setattr(pace, "_take", counted)

    async def many() -> None:
        await asyncio.gather(*(pace.token() for _ in range(500)))

    asyncio.run(many())
    pace.close()
    assert statements <= 2


def test_without_the_warehouse_nothing_is_sent(source: Warehouse) -> None:
    nowhere = Connection("warehouse", "postgres", "127.0.0.1", 1, "nobody")
    with pytest.raises(Unreachable, match="keeps the pace"):
        asyncio.run(Pace(nowhere, "crm", "1/1s").token())


def test_no_limit_keeps_no_row(source: Warehouse, tmp_path: Path) -> None:
    source.publish(people(10))
    with contacts_server(tmp_path) as api:
        activation.run(http_contract(), source.connection, api.connection, run_id="test")
    assert source.execute("select 1 from ledger.rate_limit") == []
