"""The requests of one destination: one event loop in a thread of its own, logged in, and no faster than allowed."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from include.activation.destinations.http_auth import Auth
from include.activation.pace import Pace
from include.core.connection import Connection
from include.core.errors import ContractError, Unreachable

_log = logging.getLogger("millrace.activation")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Response:
    """An answer, or, with status 0, that there was none, and why."""

    status: int
    body: bytes = b""
    retry_after: float | None = None
    problem: str = ""


class Client:
    """Sends requests for several threads at once, at most `concurrency` at a time."""

    def __init__(self, connection: Connection, where: str, concurrency: int, timeout: float) -> None:
        self.base, self._where, self._timeout = base_url(connection), where, timeout
        self.auth = Auth(connection, where)
        #: How fast requests may go; none: as fast as they come.
        self.pace: Pace | None = None
        self._session: aiohttp.ClientSession | None = None
        self._room = asyncio.Semaphore(concurrency)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name=f"http {connection.conn_id}", daemon=True
        )
        self._thread.start()
        parts = urlsplit(self.base)
        local = parts.hostname in ("127.0.0.1", "localhost", "::1")
        if parts.scheme == "http" and connection.password and not local:
            _log.warning("%s: the token goes over the network unencrypted; use https", where)

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Do it in the loop, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        if self._session is not None:
            self.run(self._session.close())
        if self.pace is not None:
            self.pace.close()
        self.run(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def knock(self) -> None:
        """See that something listens there.

        :raises Unreachable: nothing does.
        """
        parts = urlsplit(self.base)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            _, writer = await asyncio.wait_for(
                asyncio.open_connection(parts.hostname or "", port), self._timeout
            )
            writer.close()
        except (OSError, asyncio.TimeoutError) as error:
            raise Unreachable(
                f"the API does not answer: {_short(error)}", where=self._where, todo="see whether it is up"
            ) from error

    async def login(self) -> None:
        """Get a token, where one is needed.

        :raises TerminalError: the token endpoint refuses the client.
        :raises Unreachable: it does not answer.
        """
        await self.auth.headers(self._opened())

    async def request(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Response:
        """One request, when there is room for it and its time has come; with a new token when the old one is refused.

        :raises TerminalError: the token endpoint refuses the client.
        :raises Unreachable: the warehouse, which keeps the pace, does not answer.
        """
        async with self._room:
            response, login = await self._once(method, path, body, headers)
            if response.status == 401 and self.auth.refused(login):
                response, _ = await self._once(method, path, body, headers)
        return response

    async def _once(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[Response, dict[str, str]]:
        session = self._opened()
        try:
            login = await self.auth.headers(session)
        except Unreachable as error:
            return Response(0, problem=error.what), {}
        if self.pace is not None and (paused := await self.pace.token()):
            return Response(429, retry_after=paused), login
        try:
            # Redirects are not followed: they would carry the token to an address that nobody put into the
            # connection.
            async with session.request(
                method,
                URL(self.base + path, encoded=True),
                data=body,
                headers=login | headers,
                allow_redirects=False,
            ) as answer:
                wait = retry_after(answer.headers.get("Retry-After"), datetime.now(timezone.utc))
                response = Response(answer.status, await answer.read(), wait)
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            return Response(0, problem=f"no answer: {_short(error)}"), login
        if wait is not None and response.status >= 400 and self.pace is not None:
            await self.pace.pause(wait)
        return response, login

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                headers={"Accept": "application/json"},
                timeout=aiohttp.ClientTimeout(total=self._timeout),
                connector=aiohttp.TCPConnector(limit=0),
            )
        return self._session


def base_url(connection: Connection) -> str:
    """Scheme, host, port and an optional path of an HTTP connection, as Airflow spells them: the scheme
    stands in `schema`.

    :raises ContractError: the connection has no host.
    """
    host = connection.host
    if not host:
        raise ContractError(
            "connection has no host",
            where=f"connection {connection.conn_id!r}",
            allowed="http://:token@host:port/https",
            todo=f"correct AIRFLOW_CONN_{connection.conn_id.upper()}",
        )
    if "://" in host:
        return host.rstrip("/") + (f":{connection.port}" if connection.port else "")
    scheme = connection.schema if connection.schema in ("http", "https") else connection.conn_type
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"{scheme}://{host}" + (f":{connection.port}" if connection.port else "")


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds that a `Retry-After` header asks for, as a number or a date; None when it is not readable."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or timezone.utc) - now).total_seconds())


def _short(error: BaseException) -> str:
    return f"{type(error).__name__} {error}".strip()[:500]
