"""Making a step of a load hang at its worst moment, and killing the processes that run it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import psycopg

from tests.support.lifecycle import Lifecycle, Run, until

# Where each step of an ingest is held: it has done its work and is about to say so in the ledger.
_HOLDS = {
    "extract": ("ledger.load", "update", "new.status = 'landed'"),
    "stage": ("ledger.load_stream", "update", "new.status = 'staged'"),
    "audit": ("ledger.load_stream", "update", "new.status in ('audited', 'rejected')"),
    "publish": ("ledger.load", "update", "new.status = 'published'"),
}
_HOLD = """
create or replace function public.held() returns trigger language plpgsql as $$
begin
    if exists (select from ledger.load as l where l.load_id = new.load_id and l.source = '{source}') then
        perform pg_advisory_xact_lock_shared(hashtext(tg_argv[0]));
    end if;
    return new;
end $$;
"""


class Holds:
    """The steps of one source's loads that wait where they are, each until it is let go."""

    def __init__(self, sessions: dict[str, psycopg.Connection[tuple[object, ...]]]) -> None:
        self._sessions = sessions

    def let_go(self, step: str) -> None:
        self._sessions[step].execute("select pg_advisory_unlock_all()")


@contextmanager
def held(lifecycle: Lifecycle, source: str) -> Iterator[Holds]:
    """Every step of this source's loads waits at the end of its work."""
    warehouse = lifecycle.stack.postgres.conninfo("warehouse")
    sessions = {step: psycopg.connect(warehouse, autocommit=True) for step in _HOLDS}
    try:
        for step, session in sessions.items():
            session.execute("select pg_advisory_lock(hashtext(%s))", (step,))
        lifecycle.at("warehouse", _HOLD.format(source=source))
        for step, (table, event, when) in _HOLDS.items():
            lifecycle.at(
                "warehouse",
                f"create trigger hold_{step} before {event} on {table} for each row when ({when})"
                f" execute function public.held('{step}')",
            )
        yield Holds(sessions)
    finally:
        for session in sessions.values():
            session.close()
        lifecycle.at("warehouse", "drop function if exists public.held() cascade")


def waiting(lifecycle: Lifecycle, database: str, lock: str) -> None:
    """Return once a session of Millrace waits for a lock of this kind, as pg_stat_activity calls it."""
    until(
        lambda: lifecycle.at(
            database,
            "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
            " and wait_event = %s",
            lock,
        ),
        f"a session in {database} to wait for a lock ({lock})",
    )


def kill(lifecycle: Lifecycle, run: Run, task_id: str, *, worker: bool, task: bool) -> None:
    """kill -9 the process of a running task, or the worker that watches over it, or both at once."""
    processes = (_processes(t["id"]) for t in lifecycle.tasks(run, task_id) if t["state"] == "running")
    watching, working = next(found for found in processes if len(found) == 2)
    for victim in [watching] * worker + [working] * task:
        victim.send_signal(signal.SIGKILL)


def _processes(task_instance: str) -> list[psutil.Process]:
    """The worker that runs a task, and the task's own process below it; both carry its id in their titles."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess):
            if task_instance in " ".join(process.cmdline()):
                found.append(process)
    return sorted(found, key=lambda process: "LocalExecutor" not in " ".join(process.cmdline()))
