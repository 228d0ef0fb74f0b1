"""The one process per clone that starts the services in order, keeps them running and stops them.

It lives as long as it holds the lock `run/supervisor.lock`. `python -m include.stack.supervisor` runs it in
the foreground, `include.stack.control` in the background. SIGTERM: stop everything. SIGHUP: try failed units
again, repeat the steps, and start Airflow anew when the user's settings have changed.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from include.core.errors import MillraceError
from include.stack import ports, processes, secrets, units
from include.stack.environment import environment
from include.stack.errors import StackError
from include.stack.home import Home
from include.stack.processes import Identity
from include.stack.state import (
    DONE,
    FAILED,
    HEALTHY,
    READY,
    RESTARTING,
    STARTING,
    STOPPED,
    WAITING,
    StackState,
    UnitState,
)
from include.stack.units import AIRFLOW, PROFILES, Context, Unit

# a service that was healthy may die this often within the window; one that never was, once
_RESTARTS, _WINDOW = 5, 300.0
_RESTARTS_BEFORE_HEALTHY = 1
_BACK_OFF = (1.0, 2.0, 4.0, 8.0, 15.0)
_LOG_BYTES = 20_000_000
_TICK_STARTING, _TICK_RUNNING = 0.1, 1.0


class Supervisor:
    """Runs the units of one profile until it is told to stop, or until the process `watch` is gone."""

    def __init__(self, home: Home, profile: str, watch: Identity | None = None) -> None:
        self.home, self.watch = home, watch
        self.units = {unit.name: unit for unit in PROFILES[profile]}
        self.state = StackState(
            supervisor=Identity.of(os.getpid()),
            profile=profile,
            units={name: UnitState() for name in self.units},
        )
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.deaths: dict[str, list[float]] = {name: [] for name in self.units}
        self.retry_at: dict[str, float] = {}
        self.stopping, self.again = False, False
        self.context: Context | None = None
        self.settings: dict[str, str] = {}
        self.moved: list[str] = []

    def run(self) -> None:
        """Start everything, watch over it, and stop it at the end, also when this fails halfway."""
        woken = _wake_on_signals(self._on_signal)
        claims = None
        try:
            keys = secrets.load_or_create(self.home.secrets_file)
            served = tuple(name for name in self.units if name in ports.PREFERRED)
            claims = ports.choose(self.home.ports_file, served)
            self.moved = list(claims.moved.values())
            self.state.notices = list(self.moved)
            self.context = Context(self.home, claims.numbers, keys)
            self.settings = environment(self.home)
            for name in served:
                self.state.units[name].port = claims.numbers[name]
            self._publish()
            while not self.stopping:
                self._tick()
                if select.select([woken], [], [], _TICK_RUNNING if self._settled() else _TICK_STARTING)[0]:
                    woken.recv(4096)
        finally:
            self._stop_all()
            if claims is not None:
                claims.release()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self.again = True
        elif number != signal.SIGCHLD:
            self.stopping = True

    def _settled(self) -> bool:
        return all(unit.state in (*READY, FAILED) for unit in self.state.units.values())

    def _publish(self) -> None:
        self.state.write(self.home.state_file)

    def _enter(self, name: str, state: str, reason: str = "") -> None:
        unit = self.state.units[name]
        unit.state, unit.since, unit.reason = state, time.time(), reason
        if state in READY and unit.started is not None:
            unit.took = round(unit.since - unit.started, 1)
        print(f"{time.strftime('%H:%M:%S')} {name}: {state} {reason}".rstrip(), flush=True)
        self._publish()

    def _tick(self) -> None:
        if self.watch is not None and not self.watch.alive():
            self.stopping = True
            return
        if self.again:
            self._start_over()
        for name, unit in self.units.items():
            if self.stopping:
                return
            state = self.state.units[name].state
            due = state == WAITING and all(self.state.units[n].state in READY for n in unit.after)
            if due or (state == RESTARTING and time.monotonic() >= self.retry_at[name]):
                self._start(unit)
            elif state in (STARTING, HEALTHY):
                self._look_after(unit)

    def _start_over(self) -> None:
        self.again = False
        self.state.notices = list(self.moved)
        for name, unit in self.units.items():
            state = self.state.units[name]
            if state.state == FAILED or (unit.healthy is None and state.state == DONE):
                self.deaths[name].clear()
                state.restarts = 0
                self._enter(name, WAITING)
        self._take_new_settings()
        self.state.serial += 1
        self._publish()

    def _take_new_settings(self) -> None:
        """A connection that was added to `.env` reaches Airflow when its processes start anew."""
        known, self.settings = self.settings, environment(self.home)
        running = {
            name: process
            for name in AIRFLOW
            if name in self.units and (process := self.state.units[name].process) is not None
        }
        if known == self.settings or not running:
            return
        self.state.notices.append(f"the settings in {self.home.env_file} have changed: Airflow starts anew")
        units.stop(running, self.home)
        for name in running:
            self.children[name].poll()
            self._enter(name, WAITING)

    def _start(self, unit: Unit) -> None:
        assert self.context is not None
        state = self.state.units[unit.name]
        state.started, state.took, state.process = time.time(), None, None
        try:
            child = self._launch(unit)
        except MillraceError as error:
            with self.home.log(unit.name).open("a") as log:
                log.write(f"{error}\n")
            self._enter(unit.name, FAILED, str(error))
            return
        if child is None:
            self._enter(unit.name, DONE, "nothing to do")
            return
        self.children[unit.name] = child
        state.process, state.exit = Identity.of(child.pid), None
        self._enter(unit.name, STARTING)

    def _launch(self, unit: Unit) -> subprocess.Popen[bytes] | None:
        """Start the unit's process; None when it has nothing to run."""
        assert self.context is not None
        try:
            launch = unit.launch(self.context)
            if launch is None:
                return None
            options = {"cwd": str(self.home.root), "env": dict(os.environ), **launch.options}
            options["env"] |= {
                "MILLRACE_HOME": str(self.home.path),
                "MILLRACE_SERVICE_OF": str(self.home.path),
            }
            with _log_file(self.home.log(unit.name)).open("ab") as log:
                return subprocess.Popen(
                    launch.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    **options,
                )
        except OSError as error:
            raise StackError(
                "could not be started", where=unit.name, received=str(error),
                todo="remove the cause, then `millrace up`; when the clone was moved, `make setup` first",
            ) from error  # fmt: skip

    def _look_after(self, unit: Unit) -> None:
        assert self.context is not None
        state, child = self.state.units[unit.name], self.children[unit.name]
        code = child.poll()
        if code is not None:
            state.exit = code
            self._ended(unit, code)
        elif state.state == STARTING and state.started is not None:
            if unit.healthy is not None and unit.healthy(self.context, state.started):
                state.proven = True
                self._enter(unit.name, HEALTHY)
            elif time.time() - state.started > unit.patience:
                self._stop(unit)
                self._died(unit, f"not ready after {unit.patience:.0f} s")

    def _ended(self, unit: Unit, code: int) -> None:
        assert self.context is not None
        if unit.healthy is not None:
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            self._stop(unit)  # what the leader left behind in its session
            self._died(unit, f"ended with {how}")
        elif code != 0:
            self._enter(unit.name, FAILED, f"ended with exit code {code}")
        else:
            if unit.done is not None:
                unit.done(self.context)
            self._enter(unit.name, DONE)

    def _died(self, unit: Unit, reason: str) -> None:
        state, now = self.state.units[unit.name], time.monotonic()
        recent = [moment for moment in self.deaths[unit.name] if now - moment < _WINDOW]
        self.deaths[unit.name] = [*recent, now]
        allowed = _RESTARTS if state.proven else _RESTARTS_BEFORE_HEALTHY
        if len(recent) >= allowed:
            self._enter(unit.name, FAILED, f"{reason}, {len(recent) + 1} times in a row")
            return
        state.restarts += 1
        self.retry_at[unit.name] = now + _BACK_OFF[min(len(recent), len(_BACK_OFF) - 1)]
        self._enter(unit.name, RESTARTING, reason)

    def _stop(self, unit: Unit) -> None:
        process = self.state.units[unit.name].process
        if process is not None:
            processes.stop(process, self.home, unit.stop_with, unit.grace)
            self.children[unit.name].poll()

    def _stop_all(self) -> None:
        self.state.stopping = True
        self._publish()
        units.stop({name: unit.process for name, unit in self.state.units.items() if unit.process}, self.home)
        for name, unit in self.state.units.items():
            if unit.state != FAILED:
                self._enter(name, STOPPED)


def _wake_on_signals(handler: Callable[[int, FrameType | None], None]) -> socket.socket:
    """A socket that becomes readable at each signal, so that waiting ends at once when a child does."""
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.detach(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, handler)
    return woken


def _log_file(log: Path) -> Path:
    """The log to append to; a long one is put aside first, in place of the one before."""
    if log.exists() and log.stat().st_size > _LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    return log


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", choices=sorted(PROFILES), default="all")
    parser.add_argument("--watch", type=int, help="stop when the process with this number is gone")
    arguments = parser.parse_args()
    home = Home.locate()
    home.create()
    lock = open(home.lock_file, "w")  # noqa: SIM115  held for the life of this process
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("another supervisor of this clone is running")
    watch = Identity.of(arguments.watch) if arguments.watch else None
    Supervisor(home, arguments.profile, watch).run()


if __name__ == "__main__":
    main()
