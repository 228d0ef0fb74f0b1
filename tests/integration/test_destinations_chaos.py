"""Whatever happens to the server, the way to it and our worker: in the end the destination is the model."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from include import activation
from tests.support import destinations as kinds
from tests.support.activation import COLUMNS, Warehouse, deliverer, people, wait_for, warehouse
from tests.support.destinations import REFUSED, Target

PEOPLE = 400
#: The session of a worker, which holds the sync.
OURS = "select 1 from pg_stat_activity where usename = 'millrace_activator'"


@pytest.fixture(params=["postgres", "mysql"])
def target(request: pytest.FixtureRequest, database: Callable[..., str]) -> Iterator[Target]:
    with ExitStack() as stack:
        made = (
            kinds.postgres(database("crm"))
            if request.param == "postgres"
            else kinds.mysql(request.getfixturevalue("mariadb_server"))
        )
        yield stack.enter_context(made)


@pytest.fixture
def source(database: Callable[..., str]) -> Warehouse:
    made = warehouse(database("warehouse"))
    made.publish(people(PEOPLE))
    return made


@pytest.mark.parametrize("rounds", [2, pytest.param(10, marks=pytest.mark.long)])
def test_chaos(source: Warehouse, target: Target, rounds: int) -> None:
    chance = random.Random(11)
    contract = target.contract(mode="mirror", batch_size=20, max_delete_share=1)
    target.proxy.slow = 0.02
    values: dict[str, set[str]] = {}
    for number in range(rounds):
        _change(source, chance, number)
        for key, segment in source.execute("select external_id, segment from activation.contacts"):
            values.setdefault(key, set()).add(segment)
        process = deliverer(contract, source.connection, target.connection)
        try:
            _trouble(target, chance, process)
        finally:
            process.kill()
            process.wait()
        wait_for(lambda: not source.execute(OURS))

    target.proxy.slow = 0
    report = activation.run(contract, source.connection, target.connection, run_id="last")
    bad = {
        key
        for (key,) in source.execute(f"select external_id from activation.contacts where email = '{REFUSED}'")
    }
    rows = source.execute(f"select {', '.join(COLUMNS)} from activation.contacts where email <> '{REFUSED}'")
    held = target.held()
    assert {key: row for key, row in held.items() if key not in bad} == {row[0]: row for row in rows}
    # What it refuses is exactly what is kept as rejected; what it held before of these, it holds still.
    rejected = {key for key, (status, _, _) in source.records().items() if status == "rejected"}
    assert rejected == bad
    assert report.read == report.unchanged + report.delivered + report.rejected == len(rows) + len(bad)
    assert report.unsent == report.deletes_unsent == 0
    # Sent twice perhaps, with the effect of once: no more changes than there were values.
    assert all(changes < len(values[key]) for key, changes in target.touched().items())
    for run in source.runs():
        fates = ("unchanged", "held", "delivered", "rejected", "unsent")
        assert run["read"] == sum(run[name] for name in fates)
        assert run["deletes"] == run["deleted"] + run["deletes_rejected"] + run["deletes_unsent"]
        assert run["status"] != "running"
    assert source.execute("select count(*) from ledger.sync_in_flight") == [(0,)]


def _change(source: Warehouse, chance: random.Random, number: int) -> None:
    """Another version of the model: some change, some leave, some come, some are refused, some no longer."""
    if number == 0:
        source.change(f"update contacts set email = '{REFUSED}' where external_id in ('c1', 'c77', 'c78')")
        return
    source.change("update contacts set email = 'fine@example.com' where external_id = 'c77'")
    for _ in range(60):
        key = f"c{chance.randint(1, PEOPLE)}"
        source.change(f"update contacts set segment = 'v{number}' where external_id = '{key}'")
    leaving = ", ".join(f"'c{chance.randint(100, PEOPLE)}'" for _ in range(5))
    source.change(f"delete from contacts where external_id in ({leaving})")
    source.change(
        f"insert into contacts values ('new{number}', 'new{number}@example.com', 'New', 1.5, 'v{number}', null)"
    )


def _trouble(target: Target, chance: random.Random, process: subprocess.Popen[bytes]) -> None:
    """Trouble until the worker has ended, or is killed in the middle of its work."""
    before = target.proxy.connections
    until = time.monotonic() + 30
    while target.proxy.connections == before and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    for _ in range(chance.randint(1, 4)):
        time.sleep(chance.uniform(0.05, 0.5))
        what = chance.choice(["cut", "away", "end sessions", "kill"])
        if what == "cut":
            target.proxy.cut()
        elif what == "away":
            target.proxy.down()
            time.sleep(chance.uniform(0.05, 0.7))
            target.proxy.up()
        elif what == "end sessions":
            target.end_sessions()
        else:
            return
        if process.poll() is not None:
            return
    if chance.random() < 0.5:
        process.wait(120)
