"""Everything goes wrong at once, at the server and at our worker, and in the end the API equals the model.

The server drops connections, answers 429, 500 and too late after it applied a batch or before, refuses single records,
dies and comes back; the worker is killed at random; meanwhile the model changes.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from include import activation
from include.activation.destinations import open_destination
from include.activation.records import Difference, Record
from include.core.errors import TransientError
from tests.support.activation import COLUMNS, Warehouse, contract, deliverer, people, wait_for, warehouse
from tests.support.hubspot_api import TOKEN, HubSpotApi
from tests.support.served import Served, served

QUICK = activation.Backoff(tries=6, first=0.02, longest=0.2)
PATIENT = activation.Backoff(tries=20, first=0.02, longest=0.2)
SYNC = contract(
    destination={
        "type": "http",
        "connection": "hubspot",
        "api": "hubspot_contacts",
        "key": "external_id",
        "concurrency": 3,
        "timeout_seconds": 0.8,
        "rate_limit": "500/1s",
    },
    mode="mirror",
    batch_size=30,
    max_attempts=100,
    max_delete_share=1,
)
FAULTS = (
    {"kind": "drop"},
    {"kind": "drop", "after": False},
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 500, "after": False},
    {"kind": "status", "status": 429, "after": False},
    {"kind": "status", "status": 503},
    # Not before it applied the batch: what arrives after its sender gave up may overtake a newer value anywhere.
    {"kind": "delay", "seconds": 1.2},
)


class Model:
    """The published model, changed at random, with the number of different values that each record had."""

    def __init__(self, source: Warehouse, chance: random.Random, count: int) -> None:
        self._source, self._chance = source, chance
        self.versions: dict[str, int] = {}
        self._last: dict[str, str] = {}
        source.publish(people(count))
        self._next = count
        self._look()

    def change(self) -> None:
        keys = sorted(self.rows())
        spoiled, repaired, removed = (self._chance.sample(keys, n) for n in (4, 40, 6))
        self._set(self._chance.sample(keys, 25), f"segment = 's{self._chance.random()}'")
        self._set(repaired, "email = external_id || '@example.com'")
        self._set(spoiled, "email = 'nobody'")
        self._source.execute("delete from activation_v1.contacts where external_id = any(%s)", removed)
        self._source.execute(
            f"insert into activation_v1.contacts {people(self._next + 6)} where i > {self._next}"
        )
        self._next += 6
        self._look()

    def rows(self, where: str = "true") -> dict[str, dict[str, str]]:
        """By key, as the API keeps them: every value as text, nothing as an empty one."""
        columns = ", ".join(f"{name}::text" if name == "customer_value" else name for name in COLUMNS)
        rows = self._source.execute(
            f"select row_to_json(r) from (select {columns} from activation.contacts where {where}) r"
        )
        return {row["external_id"]: {name: str(row[name] or "") for name in COLUMNS} for (row,) in rows}

    def _set(self, keys: list[str], change: str) -> None:
        self._source.execute(f"update activation_v1.contacts set {change} where external_id = any(%s)", keys)

    def _look(self) -> None:
        rows = {key: str(row) for key, row in self.rows().items()}
        for key, row in rows.items():
            if self._last.get(key) != row:
                self.versions[key] = self.versions.get(key, 0) + 1
        self._last = rows


def attempt(source: Warehouse, server: Served, chance: random.Random) -> None:
    """One delivery in a process of its own, which may be killed while the server may die."""
    begun = "select count(*) from ledger.sync_run"
    before = source.execute(begun)
    process = deliverer(SYNC, source.connection, server.connection("hubspot", password=TOKEN))
    wait_for(lambda: process.poll() is not None or source.execute(begun) != before, 60)
    time.sleep(chance.uniform(0, 0.5))
    if chance.random() < 0.5:
        server.stop()
        time.sleep(chance.uniform(0, 0.3))
        server.start()
    time.sleep(chance.uniform(0, 1))
    process.kill()
    process.wait()
    sessions = "select 1 from pg_stat_activity where usename = 'millrace_activator'"
    wait_for(lambda: not source.execute(sessions))


def unleash(database: Callable[..., str], rounds: int, count: int, seed: int) -> None:
    chance = random.Random(seed)
    source, api = warehouse(database("warehouse")), HubSpotApi()
    model = Model(source, chance, count)
    with served(api.application) as server:
        for _ in range(rounds):
            for fault in chance.choices(FAULTS, k=6):
                api.faults.add(**fault)
            attempt(source, server, chance)
            model.change()
        connection = server.connection("hubspot", password=TOKEN)
        # The last one has troubles as well, but nobody kills it.
        stop = threading.Timer(0.3, lambda: (server.stop(), server.start()))
        stop.start()
        with suppress(TransientError):
            activation.run(SYNC, source.connection, connection, run_id="last", backoff=QUICK)
        stop.join()
        api.faults.waiting.clear()
        report = activation.run(SYNC, source.connection, connection, run_id="really", backoff=PATIENT)
        assert report.unsent == 0

        held = {contact["external_id"]: contact for contact in api.contacts.values()}
        assert len(held) == len(api.contacts)
        valid, refused = model.rows("email like '%@%'"), model.rows("email not like '%@%'")
        assert {key: row for key, row in held.items() if key not in refused} == valid
        assert held.keys() - valid.keys() <= refused.keys()
        # Rejected are exactly those that it refuses.
        states = {key: status for key, (status, *_) in source.records().items()}
        assert {key for key, status in states.items() if status == "rejected"} == refused.keys()
        # No more effects than values: nothing was applied twice, and nothing older after something newer.
        assert {key: n for key, n in api.effects.items() if n > model.versions[key]} == {}
        destination = open_destination(SYNC, connection)
        records = [Record(key, b"", json.dumps(row)) for key, row in sorted(valid.items())]
        assert set(destination.compare(records)) == {Difference()}  # type: ignore[attr-defined]
        destination.close()
    check_books(source)


def check_books(source: Warehouse) -> None:
    for run in source.runs():
        read = ("unchanged", "held", "delivered", "rejected", "unsent")
        gone = ("deleted", "deletes_rejected", "deletes_unsent")
        assert run["read"] == sum(run[name] for name in read), run
        assert run["deletes"] == sum(run[name] for name in gone), run
    assert source.execute("select count(*) from ledger.sync_in_flight") == [(0,)]


def test_chaos(database: Callable[..., str]) -> None:
    unleash(database, rounds=3, count=150, seed=1)


@pytest.mark.long
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_more_chaos(database: Callable[..., str], seed: int) -> None:
    unleash(database, rounds=15, count=400, seed=seed)
