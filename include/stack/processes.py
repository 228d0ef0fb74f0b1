"""Processes of the stack: who they are, which belong to a service, and how all of them are stopped.

Every service is started as the leader of a session of its own; what it starts stays in that session,
whatever process groups it makes. A process number alone proves nothing (it may be a stranger's by now), so a
service is known by its number together with its start, and what it left behind by its session together with
a working directory or variable of this clone.
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

_LINUX = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Identity:
    """A process: its number, and when it started on which boot of the machine.

    On Linux the start is counted in the kernel's ticks, which no change of the clock moves.
    """

    pid: int
    started: float
    boot: str = ""

    @classmethod
    def of(cls, pid: int) -> Identity:
        """The identity of a process. Raises psutil.NoSuchProcess."""
        if not _LINUX.exists():
            return cls(pid, psutil.Process(pid).create_time())
        try:
            # the name, in brackets, may hold anything; the start is the 22nd field
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            raise psutil.NoSuchProcess(pid) from None
        return cls(pid, float(fields[19]), _LINUX.read_text().strip())

    def exists(self) -> bool | None:
        """Whether this very process is there; None when its number is another's by now."""
        try:
            return True if Identity.of(self.pid) == self else None
        except psutil.NoSuchProcess:
            return False

    def alive(self) -> bool:
        """Whether this very process still runs; a dead one that nobody has waited for does not."""
        try:
            return bool(self.exists() and psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False


def session(leader: Identity, home: Home) -> list[psutil.Process]:
    """The live processes of a service: its leader, when that still runs, and everything in its session."""
    leads = leader.exists()
    if leads is None:
        # a number is not given away again while it is the number of a session
        return []
    members = []
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid() or os.getsid(process.pid) != leader.pid:
                continue
            if (leads or _belongs(process, home)) and process.status() != psutil.STATUS_ZOMBIE:
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
                found.append(Identity.of(process.pid))
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
