"""Ports on loopback: the one a clone had before, else a preferred one, else the next that is free.

A port is *held* from the choice until the stack stops, so that two clones that start in the same second do
not choose the same one. The claim is a UDP socket on the same number: it needs no file, is visible to every
user of the machine, goes with the process, and leaves the TCP port to the service itself.
"""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass, field
from pathlib import Path

from include.stack.errors import StackError

LOOPBACK = "127.0.0.1"
PREFERRED = {"postgres": 5532, "s3": 9610, "contacts-api": 8610, "api-server": 8080}
_NEXT = 200


@dataclass
class Ports:
    """The chosen port of each service. `moved` tells which ones differ from the wanted ones and why."""

    numbers: dict[str, int]
    moved: dict[str, str] = field(default_factory=dict)
    claims: list[socket.socket] = field(default_factory=list)

    def release(self) -> None:
        """Give up the claims, so that others may choose these ports."""
        while self.claims:
            self.claims.pop().close()


def in_use(port: int) -> bool:
    """Whether a server on this machine has the TCP port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # as servers do: connections in TIME_WAIT do not count as use
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return True
    return False


def claim(port: int) -> socket.socket | None:
    """A socket that holds the port number, or None when another clone holds it or a server uses it."""
    holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        holder.bind((LOOPBACK, port))
    except OSError:
        holder.close()
        return None
    if in_use(port):
        holder.close()
        return None
    return holder


def remembered(file: Path) -> dict[str, int]:
    """The ports that this clone has, or had when it last ran; the preferred ones before that."""
    known: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
    return {**PREFERRED, **known}


def choose(file: Path, services: tuple[str, ...] = tuple(PREFERRED)) -> Ports:
    """Choose and hold a port for every service, and remember the choice in `file`.

    :raises StackError: none is free.
    """
    wanted = remembered(file)
    ports = Ports(numbers=wanted)
    for service in services:
        holder, last = None, min(wanted[service] + _NEXT, 65536)
        for port in range(wanted[service], last):
            holder = claim(port)
            if holder is not None:
                break
        if holder is None:
            ports.release()
            raise StackError(
                f"no free port for {service}",
                received=f"{wanted[service]} to {last - 1} are all in use",
                todo=f"stop what uses them, or put another start into {file}",
            )
        ports.claims.append(holder)
        if port != wanted[service]:
            ports.moved[service] = f"{wanted[service]} is in use by another program, {service} takes {port}"
        ports.numbers[service] = port
    file.write_text(json.dumps(ports.numbers, indent=2) + "\n")
    return ports
