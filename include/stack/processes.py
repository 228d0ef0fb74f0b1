"""Processes of the stack: who they are, which belong to a service, and how all of them are stopped.

Every service is started as the leader of a session of its own; what it starts stays in that session,
whatever process groups it makes. A process number alone proves nothing (it may be a stranger's by now), so a
service is known by its number together with its start time, and the rest of its session by a start after it
and a working directory or variable of this clone.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from include.stack.home import Home

_CLOCK_TOLERANCE = 1.5


@dataclass(frozen=True)
class Identity:
    """A process: its number, and when it started (seconds since the epoch)."""

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int) -> Identity:
        """The identity of a live process. Raises psutil.NoSuchProcess."""
        return cls(pid, psutil.Process(pid).create_time())

    def alive(self) -> bool:
        """Whether this very process still runs; a dead one that nobody has waited for does not."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < _CLOCK_TOLERANCE
            return bool(same and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False


def session(leader: Identity, home: Home) -> list[psutil.Process]:
    """The live processes of a service: its leader, when that still runs, and everything in its session."""
    leads = leader.alive()
    members = []
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid() or os.getsid(process.pid) != leader.pid:
                continue
            ours = leads or (
                process.create_time() >= leader.created - _CLOCK_TOLERANCE and _belongs(process, home)
            )
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError, PermissionError):
            continue
    return members


def strays(home: Home) -> list[Identity]:
    """Session leaders that carry this home's mark: a start may be cut off before it is written down."""
    found = []
    for process in psutil.process_iter():
        try:
            leads = os.getsid(process.pid) == process.pid
            if leads and process.environ().get("MILLRACE_SERVICE_OF") == str(home.path):
                found.append(Identity(process.pid, process.create_time()))
        except (psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError, PermissionError):
            continue
    return found


def _belongs(process: psutil.Process, home: Home) -> bool:
    try:
        if process.environ().get("MILLRACE_HOME") == str(home.path):
            return True
    except psutil.AccessDenied:
        pass
    folder = Path(process.cwd())
    return any(folder == place or place in folder.parents for place in (home.path, home.root))


def stop(leader: Identity, home: Home, how: signal.Signals = signal.SIGTERM, patience: float = 20) -> None:
    """Stop a service and everything in its session: politely first, then, after `patience` seconds, not."""
    members = session(leader, home)
    if leader.alive():
        _signal([psutil.Process(leader.pid)], how)
        _wait(lambda: not leader.alive(), patience)
    else:
        _signal(members, signal.SIGTERM)
        _wait(lambda: not session(leader, home), min(patience, 3))
    for _ in range(3):
        left = session(leader, home)
        if not left:
            return
        _signal(left, signal.SIGKILL)
        psutil.wait_procs(left, timeout=3)


def _signal(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def _wait(done: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        time.sleep(0.05)
