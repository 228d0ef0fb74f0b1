"""Web servers of tests, in a thread of this process and on a real socket: their state can be looked at."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from include.core.connection import Connection
from tests.support.activation import free_port


class Served:
    """An application that can be stopped and started again at the same address."""

    def __init__(self, application: Callable[[], web.Application]) -> None:
        self._application, self.port = application, free_port()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connection(self, conn_id: str = "crm_api", **fields: Any) -> Connection:
        return Connection(conn_id, "http", "127.0.0.1", self.port, **fields)

    def start(self) -> None:
        ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(30), "the server does not start"

    def stop(self) -> None:
        """Go away at once, in the middle of whatever it is answering."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop = None

    def _serve(self, ready: threading.Event) -> None:
        loop = self._loop = asyncio.new_event_loop()
        runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=0)
        loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True)
        loop.run_until_complete(site.start())
        loop.call_soon(ready.set)
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()


@contextmanager
def served(application: Callable[[], web.Application]) -> Iterator[Served]:
    """A running server, stopped in the end."""
    server = Served(application)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Window:
    """So many requests in each of so many seconds, counted as APIs do: from the first one on."""

    def __init__(self, requests: int = 0, seconds: float = 10.0) -> None:
        self.requests, self.seconds = requests, seconds
        self._began, self._used = 0.0, 0

    def wait(self) -> float:
        """Seconds until another request is allowed; 0 takes one."""
        now = asyncio.get_running_loop().time()
        if now - self._began >= self.seconds:
            self._began, self._used = now, 0
        if self.requests and self._used >= self.requests:
            return self._began + self.seconds - now
        self._used += 1
        return 0.0


class Faults:
    """What goes wrong next: `drop` breaks the connection and `status` answers that; `after` applying it, or before."""

    def __init__(self) -> None:
        self.waiting: list[dict[str, Any]] = []

    def add(self, kind: str, times: int = 1, **settings: Any) -> None:
        self.waiting += [{"kind": kind, "after": True, "status": 500, "seconds": 1.0} | settings] * times

    def next(self) -> dict[str, Any]:
        return self.waiting.pop(0) if self.waiting else {"kind": "none", "after": True}


async def suffer(fault: dict[str, Any], request: web.Request) -> web.Response | None:
    """What the fault makes of the answer; None: nothing."""
    if fault["kind"] == "delay":
        await asyncio.sleep(fault["seconds"])
    if fault["kind"] == "drop" and request.transport is not None:
        request.transport.abort()
    if fault["kind"] == "status":
        return web.json_response({"message": "as asked for"}, status=fault["status"])
    return None
