"""Delivery to a JSON API that a declaration describes (`include/core/contracts/http_api.py`).

Times go as ISO 8601 with their zone, `numeric` and `bigint` as strings with all their digits, as CRMs take
them. Only a word about a record, as the declaration reads it, is an acknowledgement. An answer that blames the data
without saying which record makes the batch be halved until the culprit is alone; one that asks for patience, or no
answer at all, is retryable.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from include.activation.destinations.http_client import Client, Response, base_url
from include.activation.destinations.http_read import ReadBack
from include.activation.destinations.http_shape import Ids, Reader, Renderer
from include.activation.pace import Pace
from include.activation.records import DELIVERED, Difference, Outcome, Record
from include.core.connection import Connection
from include.core.contracts.destinations import HttpDestination
from include.core.contracts.http_api import Action
from include.core.contracts.sync import SyncContract
from include.core.errors import ContractError, TerminalError, Unreachable


class HttpApi:
    """Delivers to one API. Several threads may call `send`; requests run in one event loop."""

    def __init__(self, contract: SyncContract, connection: Connection) -> None:
        target = contract.destination
        assert isinstance(target, HttpDestination)
        self.concurrency = target.concurrency
        self._target, self._shape, self._fields = target, target.shape, sorted(contract.mapping)
        self._upsert = self._action(self._shape.upsert)
        self._delete = self._action(self._shape.delete) if self._shape.delete else None
        self._where = f"sync {contract.sync!r}, {base_url(connection)}{target.place} by connection {connection.conn_id!r}"
        self._refused: TerminalError | None = None
        # Another one each run: what an API remembers of a request of yesterday must not stand for one of today.
        self._run = secrets.token_bytes(16)
        self._client = Client(connection, self._where, target.concurrency, target.timeout_seconds)
        self._read = (
            ReadBack(self._shape.read, target, self._fields, self._client, self._where)
            if self._shape.read
            else None
        )
        #: Whether the declaration says how records are read back.
        self.can_compare = self._read is not None

    def _action(self, action: Action) -> _Action:
        return _Action(Renderer(action, self._target, self._fields), Reader(action, self._target))

    def keep_pace(self, pace: Pace) -> None:
        """Send no faster than that."""
        self._client.pace = pace

    def check(self) -> None:
        """See that something listens there, and get a token where one is needed.

        :raises Unreachable: nothing does, or nothing at the address of the tokens.
        :raises TerminalError: no token is given for these credentials.
        """
        self._client.run(self._client.knock())
        self._client.run(self._client.login())

    def send(self, batch: Sequence[Record]) -> list[Outcome]:
        """One request, or several: when the API takes fewer records at once, or refuses the batch as a whole.

        :raises TerminalError: the API refuses the login, the path, or does not answer as declared.
        """
        return self._client.run(self._send(batch))

    def compare(self, batch: Sequence[Record]) -> list[Difference]:
        """What the API holds otherwise than mapped.

        :raises TerminalError: the declaration has no `read`; or see `send`.
        :raises Unreachable: the API does not answer.
        """
        if self._read is None:
            raise ContractError(
                "the declaration does not say how records are read back",
                where=self._where,
                todo="add `read` to it",
            )
        return self._client.run(self._read.compare(batch))

    def close(self) -> None:
        self._client.close()

    async def _send(self, batch: Sequence[Record]) -> list[Outcome]:
        writes = [record for record in batch if record.action != "delete"]
        work = [self._deliver(self._upsert, part) for part in self._upsert.parts(writes)]
        if len(writes) < len(batch):
            work.append(self._remove([record for record in batch if record.action == "delete"]))
        outcomes: dict[str, Outcome] = {}
        # Waits for all of them, so that nothing is still being sent when an error is raised.
        for done in await asyncio.gather(*work, return_exceptions=True):
            if isinstance(done, BaseException):
                raise done
            outcomes |= done
        return [outcomes[record.key] for record in batch]

    async def _remove(self, records: Sequence[Record]) -> dict[str, Outcome]:
        """Delete, by the API's own ids where it wants those. What it does not have is gone already."""
        if self._delete is None:
            raise ContractError(
                "the declaration does not say how records are deleted",
                where=self._where,
                todo="add `delete` to it",
            )
        ids: Ids | None = None
        gone: dict[str, Outcome] = {}
        if self._delete.renderer.needs_id and self._read is not None:
            try:
                ids = await self._read.ids(records)
            except Unreachable as error:
                return dict.fromkeys((record.key for record in records), Outcome("retryable", error.what))
            gone = {record.key: DELIVERED for record in records if record.key not in ids}
            records = [record for record in records if record.key in ids]
        for part in self._delete.parts(records):
            gone |= await self._deliver(self._delete, part, ids)
        return gone

    async def _deliver(
        self, action: _Action, records: Sequence[Record], ids: Ids | None = None
    ) -> dict[str, Outcome]:
        if self._refused is not None:
            raise self._refused
        path, body = action.renderer.path(records, ids), action.renderer.body(records, ids)
        response = await self._client.request(
            action.renderer.method, path, body, self._headers(action, path, body)
        )
        try:
            said, blame = self._judge(action, records, response)
        except TerminalError as error:
            self._refused = error
            raise
        outcomes = {
            record.key: outcome for record, outcome in zip(records, said, strict=True) if outcome is not None
        }
        rest = [record for record in records if record.key not in outcomes]
        if len(records) == len(rest) == 1:
            return {rest[0].key: Outcome("rejected", blame)}
        middle = len(rest) // 2 if len(rest) == len(records) else 0
        for part in (rest[:middle], rest[middle:]):
            if part:
                outcomes |= await self._deliver(action, part, ids)
        return outcomes

    def _headers(self, action: _Action, path: str, body: bytes | None) -> dict[str, str]:
        headers = {} if body is None else {"Content-Type": "application/json"}
        if self._shape.idempotency_header:
            content = b"\n".join([self._run, action.renderer.method.encode(), path.encode(), body or b""])
            headers[self._shape.idempotency_header] = hashlib.sha256(content).hexdigest()
        return headers

    def _judge(
        self, action: _Action, records: Sequence[Record], response: Response
    ) -> tuple[list[Outcome | None], str]:
        """The outcome of each record, None for those of which the answer blames one; and its words.

        :raises TerminalError: the API refuses the request whatever its records, or does not answer as declared.
        """
        statuses, status, count = self._shape.statuses, response.status, len(records)
        if status == 0:
            return [Outcome("retryable", response.problem)] * count, ""
        if status in statuses.answered:
            return self._read_outcomes(action, records, response)
        code, blame = action.reader.refusal(status, response.body)
        if status in statuses.patience or status >= 500 or action.reader.passes(code):
            return [Outcome("retryable", f"HTTP {status}", response.retry_after)] * count, ""
        if status in statuses.absent and action.renderer.single:
            gone = DELIVERED if action is self._delete else Outcome("rejected", f"not there, {blame}")
            return [gone] * count, ""
        if status in statuses.refused or status < 400:
            raise TerminalError(
                "the API refuses the request, whatever its records",
                where=self._where,
                received=f"HTTP {status} {code[:100]}".strip(),
                allowed=", ".join(map(str, statuses.answered)),
                todo=self._client.auth.todo()
                if status in (401, 403)
                else "correct the connection's address, or the path of the API (3xx, 404)",
            )
        return [None] * count, blame

    def _read_outcomes(
        self, action: _Action, records: Sequence[Record], response: Response
    ) -> tuple[list[Outcome | None], str]:
        try:
            answer = orjson.loads(response.body) if response.body.strip() else None
            said = action.reader.outcomes(records, answer)
        except (orjson.JSONDecodeError, LookupError) as error:
            raise TerminalError(
                "the API does not answer as declared, so that nobody knows what it took",
                where=self._where,
                received=f"{len(response.body)} bytes, {type(error).__name__}"
                + (f": {error}" if isinstance(error, LookupError) else ""),
                allowed=action.reader.wanted(),
                todo="correct the declaration, or the address of the connection",
            ) from error
        return said, action.reader.unnamed(response.status, answer)


@dataclass(frozen=True)
class _Action:
    """One action of the declaration, ready for use."""

    renderer: Renderer
    reader: Reader

    def parts(self, records: Sequence[Record]) -> list[Sequence[Record]]:
        """The records as requests take them."""
        size = 1 if self.renderer.single else self.renderer.max_batch
        return [records[start : start + size] for start in range(0, len(records), size)]
