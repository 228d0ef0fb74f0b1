"""Four DAGs pull a busy bank again and again, one in each way, while tasks, workers, connections and the store are killed.

Each time one of them has published, what it published must be a state that the bank was really in; in the end, its values.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from include.stack.state import HEALTHY, StackState
from tests.support import bank, banks
from tests.support.attempts import dropped, writing
from tests.support.kills import kill
from tests.support.lifecycle import Lifecycle, Run, until

#: How often each way has to publish, and how often something has to be killed meanwhile.
PUBLISHED = 3
KILLED = {"task": 3, "worker": 1, "source": 2, "warehouse": 2, "store": 1}
STEPS = ("extract", "stage", "audit", "publish")


@pytest.fixture(scope="module")
def open_bank(lifecycle: Lifecycle) -> Iterator[None]:
    banks.open_bank(lifecycle)
    yield
    dropped = lifecycle.stack.millrace("slot", "drop", banks.source_of("log"), "--yes")
    assert "dropped slot millrace_bank_log" in dropped.stdout, dropped.stderr
    assert 'drop publication "millrace_bank_log";' in dropped.stdout  # which an administrator has made


@pytest.mark.long
def test_whatever_dies_each_publication_is_a_state_of_the_bank(open_bank: None, lifecycle: Lifecycle) -> None:
    chance, killed, published = random.Random(5), Counter[str](), Counter[str]()
    running: dict[str, Run] = {}
    with writing(lifecycle.stack.postgres.conninfo(banks.DATABASE), seed=11):
        while not _enough(killed, published):
            for way in bank.WAYS:
                if way in running and lifecycle.state(running[way]) in ("success", "failed"):
                    _is_right(lifecycle, way, running.pop(way))
                    published[way] += 1
                if way not in running:
                    running[way] = lifecycle.trigger(banks.dag_of(way))
            time.sleep(chance.uniform(0.2, 2))
            open_kinds = [kind for kind in KILLED if killed[kind] < KILLED[kind]]
            if open_kinds:
                kind = chance.choice(open_kinds)
                killed[kind] += _disturb(lifecycle, kind, list(running.values()), chance)
        for way, run in running.items():
            _is_right(lifecycle, way, lifecycle.ended(run))
    for way in bank.WAYS:
        assert lifecycle.done(banks.dag_of(way)).state == "success"
        assert lifecycle.unequal(banks.source_of(way), banks.DATABASE) == []
        assert bank.torn(lambda query: lifecycle.at("warehouse", query), f"raw_bank_{way}") == []
    assert lifecycle.books() == []
    status = lifecycle.stack.millrace("slot", "status", banks.source_of("log"))
    assert status.returncode == 0, status.stdout + status.stderr
    again = [tries for way in bank.WAYS for tries in _tries(lifecycle, way) if tries > 1]
    assert sum(tries - 1 for tries in again) >= KILLED["task"] + KILLED["worker"]


def _enough(killed: Counter[str], published: Counter[str]) -> bool:
    return all(killed[kind] >= KILLED[kind] for kind in KILLED) and all(
        published[way] >= PUBLISHED for way in bank.WAYS
    )


def _is_right(lifecycle: Lifecycle, way: str, run: Run) -> None:
    """Nobody else publishes for this way before its next run is asked for."""
    assert lifecycle.state(run) == "success", (run, lifecycle.states(run))
    assert bank.torn(lambda query: lifecycle.at("warehouse", query), f"raw_bank_{way}") == []


def _disturb(lifecycle: Lifecycle, kind: str, runs: list[Run], chance: random.Random) -> bool:
    """Kill one thing of this kind. Returns whether there was one."""
    if kind == "store":
        return _kill_store(lifecycle)
    if kind in ("source", "warehouse"):
        database = banks.DATABASE if kind == "source" else "warehouse"
        return dropped(lifecycle.stack.postgres.conninfo(database)) > 0
    steps: list[Callable[[], None]] = [
        lambda run=run, step=step: kill(  # type: ignore[misc]
            lifecycle, run, step, worker=kind == "worker", task=True
        )
        for run in runs
        for step in STEPS
        if any(task["state"] == "running" for task in lifecycle.tasks(run, step))
    ]
    if not steps:
        return False
    try:
        chance.choice(steps)()
    except StopIteration:  # it ended by itself just now
        return False
    return True


def _kill_store(lifecycle: Lifecycle) -> bool:
    store = StackState.read(lifecycle.stack.home.state_file).units["s3"].process
    assert store is not None
    os.kill(store.pid, signal.SIGKILL)
    state_file = lifecycle.stack.home.state_file
    until(lambda: StackState.read(state_file).units["s3"].state == HEALTHY, "the store to come back")
    return True


def _tries(lifecycle: Lifecycle, way: str) -> list[int]:
    """How often each task of each run was tried."""
    query = "select try_number from task_instance where dag_id = %s"
    return [number for (number,) in lifecycle.at("airflow", query, banks.dag_of(way))]
