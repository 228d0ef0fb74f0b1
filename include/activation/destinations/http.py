"""A JSON API that takes batches.

    POST {base}{path}        Authorization: Bearer <the connection's password>
    {"records": [{"id": <key>, "properties": {<mapped fields>}}, …]}

    200, 201 or 207   {"results": [{"id": <key>, "status": …, "error": <text, when it refuses it>}, …]}

Times go as ISO 8601 with their zone, `numeric` and `bigint` as strings with all their digits, as CRMs take
them. Only a result without an error is an acknowledgement. An answer for the batch as a whole that blames the
data (4xx) makes it be halved until the culprit is alone; one that asks for patience (408, 425, 429, 5xx) or
no answer at all is retryable.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine, Sequence
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
import orjson

from include.activation.records import DELIVERED, Outcome, Record
from include.core.connection import Connection
from include.core.contracts.destinations import HttpDestination
from include.core.contracts.sync import SyncContract
from include.core.errors import ContractError, TerminalError, Unreachable

_log = logging.getLogger("millrace.activation")
_T = TypeVar("_T")

_ANSWERED = (200, 201, 207)
_PATIENCE = (408, 425, 429)
# The request itself is wrong, whatever its records: halving would only repeat that.
_REFUSED_AS_SUCH = (401, 402, 403, 404, 405, 406, 407, 410, 411, 415, 421, 426, 431, 451)
_REASON_CHARACTERS = 500


class HttpApi:
    """Delivers to one endpoint. Several threads may call `send`; requests run in one event loop."""

    def __init__(self, contract: SyncContract, connection: Connection) -> None:
        sync, target = contract.sync, contract.destination
        assert isinstance(target, HttpDestination)
        self.concurrency = target.concurrency
        self._target, self._connection = target, connection
        self._base = base_url(connection)
        self._where = f"sync {sync!r}, POST {self._base}{target.path} by connection {connection.conn_id!r}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"http {sync}", daemon=True)
        self._thread.start()
        self._client: aiohttp.ClientSession | None = None
        parts = urlsplit(self._base)
        if (
            parts.scheme == "http"
            and connection.password
            and parts.hostname not in ("127.0.0.1", "localhost", "::1")
        ):
            _log.warning("%s: the token goes over the network unencrypted; use https", self._where)

    def check(self) -> None:
        """See that something listens there.

        :raises Unreachable: nothing does.
        """
        parts = urlsplit(self._base)
        try:
            self._run(
                self._knock(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
            )
        except (OSError, asyncio.TimeoutError) as error:
            raise Unreachable(
                f"the API does not answer: {_short(error)}", where=self._where, todo="see whether it is up"
            ) from error

    def send(self, batch: Sequence[Record]) -> list[Outcome]:
        """One request, or several when the API refuses the batch as a whole.

        :raises TerminalError: the API refuses the token, the path, or does not answer as agreed.
        """
        return self._run(self._send(batch))

    def close(self) -> None:
        if self._client is not None:
            self._run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _knock(self, host: str, port: int) -> None:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), self._target.timeout_seconds)
        writer.close()

    async def _send(self, batch: Sequence[Record]) -> list[Outcome]:
        try:
            status, headers, body = await self._post(batch)
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            return [Outcome("retryable", f"no answer: {_short(error)}")] * len(batch)
        if status in _ANSWERED:
            return self._read_results(batch, body)
        if status in _PATIENCE or status >= 500:
            wait = retry_after(headers.get("Retry-After"), datetime.now(timezone.utc))
            return [Outcome("retryable", f"HTTP {status}", wait)] * len(batch)
        if status in _REFUSED_AS_SUCH or status < 400:
            raise TerminalError(
                "the API refuses the request, whatever its records",
                where=self._where,
                received=f"HTTP {status}",
                allowed=", ".join(map(str, _ANSWERED)),
                todo="correct the connection's token (401, 403), its address or destination.path (3xx, 404)",
            )
        if len(batch) == 1:
            text = body.decode("utf-8", "replace")
            return [Outcome("rejected", f"HTTP {status}: {text[:_REASON_CHARACTERS]}")]
        middle = len(batch) // 2
        return [*await self._send(batch[:middle]), *await self._send(batch[middle:])]

    async def _post(self, batch: Sequence[Record]) -> tuple[int, Any, bytes]:
        if self._client is None:
            headers = {"Content-Type": "application/json", "Accept": "application/json"}
            if self._connection.password:
                headers["Authorization"] = f"Bearer {self._connection.password}"
            self._client = aiohttp.ClientSession(
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=self._target.timeout_seconds),
                connector=aiohttp.TCPConnector(limit=self.concurrency),
            )
        records = [{"id": record.key, "properties": orjson.Fragment(record.body)} for record in batch]
        # Redirects are not followed: they would carry the token to an address that nobody put into the
        # connection.
        async with self._client.post(
            self._base + self._target.path,
            data=orjson.dumps({self._target.records_field: records}),
            allow_redirects=False,
        ) as response:
            return response.status, response.headers, await response.read()

    def _read_results(self, batch: Sequence[Record], body: bytes) -> list[Outcome]:
        try:
            answer = orjson.loads(body)
            results = {
                str(result["id"]): result.get("error") for result in answer[self._target.results_field]
            }
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise TerminalError(
                "the API does not answer as agreed, so that nobody knows what it took",
                where=self._where,
                received=f"{len(body)} bytes, {type(error).__name__}",
                allowed=f'{{"{self._target.results_field}": [{{"id": …, "status": …, "error": …}}, …]}}',
                todo="correct destination.results_field, or the address of the connection",
            ) from error
        return [_outcome(results, record) for record in batch]


def _outcome(results: dict[str, Any], record: Record) -> Outcome:
    if record.key not in results:
        return Outcome("retryable", "the answer does not mention the record")
    error = results[record.key]
    if error is None:
        return DELIVERED
    text = error if isinstance(error, str) else orjson.dumps(error).decode()
    return Outcome("rejected", text[:_REASON_CHARACTERS])


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
    return f"{type(error).__name__} {error}".strip()[:_REASON_CHARACTERS]
