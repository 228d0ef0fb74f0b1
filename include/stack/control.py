"""Start, stop, look at and delete the stack of this clone: what the command line and the tests call."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from include.stack import ports, postgres, processes, secrets, state, units
from include.stack.environment import process_environment, ui_url
from include.stack.errors import StackError
from include.stack.home import Home
from include.stack.state import StackState

Say = Callable[[str], None]
_LAST_LINES = 25


def running(home: Home) -> bool:
    """Whether a supervisor of this clone is alive: it holds the lock as long as it lives."""
    if not home.lock_file.exists():
        return False
    with home.lock_file.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def up(home: Home, say: Say = print, *, profile: str = "all", watch: int | None = None) -> None:
    """Start what is not running and return when all of it is healthy.

    :param profile: `all`, or `throw-away` for Postgres and S3 alone, as tests need them
    :param watch: the stack stops when this process is gone
    :raises StackError: a service cannot be started; the message has the last lines of its log
    """
    home.create()
    with _one_at_a_time(home):
        ran_before = running(home)
        if ran_before:
            _ask_again(home)
        else:
            _clear_orphans(home, say)
            _launch(home, profile, watch)
        try:
            _follow(home, say)
        except StackError:
            # what was healthy before this call stays; half a start does not
            if not ran_before:
                _stop_supervisor(home)
            raise


def down(home: Home, say: Say = print) -> None:
    """Stop everything, also what a killed supervisor left behind. Nothing to stop is fine."""
    if not home.state_file.exists():
        say("nothing is running")
        return
    with _one_at_a_time(home):
        if running(home):
            say("stopping")
            _stop_supervisor(home)
        elif not _clear_orphans(home, say):
            say("nothing is running")
            return
        _clear_orphans(home, say)
        say("everything is stopped")


def reset(home: Home) -> None:
    """Delete all local state: databases, landing zone, logs, secrets.

    :raises StackError: the stack runs.
    """
    if not home.path.exists():
        return
    if running(home):
        raise StackError(
            "the stack is running", where=str(home.path), todo="stop it first with `millrace down`"
        )
    _clear_orphans(home, lambda _text: None)
    postgres.remove(home)
    shutil.rmtree(home.path)


def tail(home: Home, service: str, lines: int = _LAST_LINES) -> list[str]:
    """The last lines of a service's log."""
    log = home.log(service)
    return log.read_text(errors="replace").splitlines()[-lines:] if log.exists() else []


def not_answering(home: Home, now: StackState) -> set[str]:
    """Services that run but do not answer, asked right now."""
    numbers = ports.remembered(home.ports_file)
    context = units.Context(home, numbers, secrets.load_or_create(home.secrets_file))
    healthy = {unit.name: unit.healthy for unit in units.ALL if unit.healthy is not None}
    return {
        name
        for name, unit in now.units.items()
        if unit.state == state.HEALTHY and not healthy[name](context, 0.0)
    }


@contextmanager
def _one_at_a_time(home: Home) -> Iterator[None]:
    with (home.state_file.parent / "control.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _launch(home: Home, profile: str, watch: int | None) -> None:
    home.state_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "include.stack.supervisor", "--profile", profile]
    with home.log("supervisor").open("ab") as log:
        subprocess.Popen(
            command + (["--watch", str(watch)] if watch else []),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=home.root,
            env=process_environment(home),
        )
    deadline = time.monotonic() + 20
    while not home.state_file.exists():
        if time.monotonic() > deadline:
            _fail("supervisor", "did not start", home)
        time.sleep(0.05)


def _ask_again(home: Home) -> None:
    before = StackState.read(home.state_file)
    if before.supervisor is None:
        return
    os.kill(before.supervisor.pid, signal.SIGHUP)
    deadline = time.monotonic() + 20
    while StackState.read(home.state_file).serial == before.serial:
        if time.monotonic() > deadline or not running(home):
            _fail("supervisor", "does not answer", home)
        time.sleep(0.05)


def _follow(home: Home, say: Say) -> None:
    """Report every change until all is ready. Raises StackError when a unit is given up."""
    seen: dict[str, str] = {}
    told: set[str] = set()
    while True:
        now = StackState.read(home.state_file)
        for notice in now.notices:
            if notice not in told:
                told.add(notice)
                say(f"note: {notice}")
        for name, unit in now.units.items():
            if seen.get(name) != unit.state:
                seen[name] = unit.state
                if unit.state not in (state.WAITING, state.STOPPED):
                    say(describe(name, unit))
        for name in now.failed():
            _fail(name, now.units[name].reason, home)
        if now.ready():
            return
        if not running(home):
            _fail("supervisor", "ended unexpectedly", home)
        time.sleep(0.1)


def describe(name: str, unit: state.UnitState) -> str:
    """One line about one unit."""
    where = f" on 127.0.0.1:{unit.port}" if unit.port and unit.state == state.HEALTHY else ""
    took = f" ({unit.took:.1f} s)" if unit.took is not None and unit.state in state.READY else ""
    reason = f": {unit.reason}" if unit.reason else ""
    return f"  {name:<14} {unit.state}{where}{took}{reason}"


def _fail(service: str, reason: str, home: Home) -> None:
    lines = tail(home, service)
    log = "".join(f"\n    {line}" for line in lines) or "\n    (empty)"
    raise StackError(
        f"{service} {reason or 'failed'}",
        where=str(home.log(service)),
        received=f"the last lines of its log:{log}",
        todo="correct what the log names and run `millrace up` again; it continues where it stopped",
    )


def _stop_supervisor(home: Home) -> None:
    known = StackState.read(home.state_file).supervisor
    if known is None or not known.alive():
        return
    os.kill(known.pid, signal.SIGTERM)
    deadline = time.monotonic() + 60
    while running(home):
        if time.monotonic() > deadline:
            os.kill(known.pid, signal.SIGKILL)
            return
        time.sleep(0.05)


def _clear_orphans(home: Home, say: Say) -> bool:
    """Stop what belongs to this clone and has no supervisor any more. Returns whether there was anything."""
    recorded = StackState.read(home.state_file)
    left = {
        name: unit.process
        for name, unit in recorded.units.items()
        if unit.process is not None and processes.session(unit.process, home)
    }
    for name in left:
        say(f"  {name} was left running without a supervisor: stopping it")
    units.stop(left, home)
    found = bool(left)
    for identity in processes.strays(home):
        processes.stop(identity, home)
        found = True
    return found


def login_help(home: Home) -> str:
    """Where the web UI is and how to log in."""
    return f"{ui_url(home)}  user: admin  password: AIRFLOW_ADMIN_PASSWORD in {home.secrets_file}"
