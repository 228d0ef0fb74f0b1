"""Making a step of a run hang at its worst moment, and killing the processes that run it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import psutil
import psycopg

from tests.support.lifecycle import Lifecycle, Run, until

# Where each step is held: it has done its work and is about to say so in the ledger.
_INGEST = {
    "extract": "trigger {} before update on ledger.load for each row when (new.status = 'landed')",
    "stage": "trigger {} before update on ledger.load_stream for each row when (new.status = 'staged')",
    "audit": "trigger {} before update on ledger.load_stream for each row"
    " when (new.status in ('audited', 'rejected'))",
    "publish": "trigger {} before update on ledger.load for each row when (new.status = 'published')",
}
_TRANSFORM = {
    "build.fct_web_sessions": "trigger {} before insert on ledger.model_result for each row"
    " when (new.unique_id = 'model.shop.fct_web_sessions')",
    "gate": "trigger {} before insert on ledger.gate_result for each row when (new.relation = 'marts.fct_orders')",
    # Its commit is on the way, and arrives also when nobody lives to hear of it.
    "publish": "constraint trigger {} after insert on ledger.publication initially deferred for each row",
}
_HOLD = """
create or replace function public.held() returns trigger language plpgsql as $$
begin
    if {these} then
        perform pg_advisory_xact_lock_shared(hashtext(tg_argv[0]));
    end if;
    return new;
end $$;
"""


class Holds:
    """The steps that wait where they are, each until it is let go."""

    def __init__(self, sessions: dict[str, psycopg.Connection[tuple[object, ...]]]) -> None:
        self._sessions = sessions

    def let_go(self, step: str) -> None:
        self._sessions[step].execute("select pg_advisory_unlock_all()")


def ingest_held(lifecycle: Lifecycle, source: str) -> AbstractContextManager[Holds]:
    """Every step of this source's loads waits at the end of its work."""
    load = "select from ledger.load as l where l.load_id = new.load_id"
    return _held(lifecycle, _INGEST, f"exists ({load} and l.source = '{source}')")


def transform_held(lifecycle: Lifecycle, transform: str) -> AbstractContextManager[Holds]:
    """A model, a gate and the publication of this transform wait at the end of their work."""
    return _held(lifecycle, _TRANSFORM, f"new.transform = '{transform}'")


@contextmanager
def _held(lifecycle: Lifecycle, steps: dict[str, str], these: str) -> Iterator[Holds]:
    warehouse = lifecycle.stack.postgres.conninfo("warehouse")
    sessions = {step: psycopg.connect(warehouse, autocommit=True) for step in steps}
    try:
        for step, session in sessions.items():
            session.execute("select pg_advisory_lock(hashtext(%s))", (step,))
        lifecycle.at("warehouse", _HOLD.format(these=these))
        for step, trigger in steps.items():
            named = trigger.format(f'"hold {step}"')
            lifecycle.at("warehouse", f"create {named} execute function public.held('{step}')")
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
