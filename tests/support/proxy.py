"""A server that can go away: what stands between us and a real one, passes everything on, and can be closed."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Lock, Thread

_LOCAL = "127.0.0.1"


@dataclass
class Proxy:
    """Passes connections on to a port of this machine. `connections` counts those that it took so far.
    What goes there waits for `slow` seconds."""

    target: int
    port: int = 0
    connections: int = 0
    slow: float = 0.0
    _listener: socket.socket | None = field(default=None, repr=False)
    _open: set[socket.socket] = field(default_factory=set, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def up(self) -> None:
        """Take connections, again on the same port."""
        self._listener = socket.create_server((_LOCAL, self.port))
        self.port = self._listener.getsockname()[1]
        Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Break every connection that is open; new ones are taken."""
        with self._lock:
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
            self._open.clear()

    def down(self) -> None:
        """Break every connection and take no more."""
        if self._listener is not None:
            # a thread that waits in accept holds the port until it is woken
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.cut()

    @property
    def open(self) -> int:
        """Connections that are open now."""
        with self._lock:
            return len(self._open) // 2

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                ours, _ = listener.accept()
            except OSError:
                return
            theirs = socket.create_connection((_LOCAL, self.target))
            with self._lock:
                self.connections += 1
                self._open |= {ours, theirs}
            for one, other, there in ((ours, theirs, True), (theirs, ours, False)):
                Thread(target=self._pass_on, args=(one, other, there), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket, there: bool) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                if there and self.slow:
                    time.sleep(self.slow)
                other.sendall(data)
        with self._lock:
            for each in (one, other):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()
                self._open.discard(each)


@contextlib.contextmanager
def proxy(target: int) -> Iterator[Proxy]:
    """A proxy that is up, closed in the end."""
    made = Proxy(target)
    made.up()
    try:
        yield made
    finally:
        made.down()
