"""Reading records back from an API, as its declaration says, and comparing them with what is mapped."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import orjson

from include.activation.destinations.http_client import Client, Response
from include.activation.destinations.http_shape import Ids, Renderer, as_text, dig, first
from include.activation.records import Difference, Record
from include.core.contracts.destinations import HttpDestination
from include.core.contracts.http_api import Read, fill
from include.core.errors import TerminalError, Unreachable

_TRIES = 5
_LONGEST_WAIT = 60.0
# A text with leading zeros is a code, not a number.
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")


class ReadBack:
    """Reads from one API. Used in its client's event loop."""

    def __init__(
        self, read: Read, target: HttpDestination, fields: Sequence[str], client: Client, where: str
    ) -> None:
        self._read, self._fields, self._client, self._where = read, fields, client, where
        self._renderer = Renderer(read, target, fields)
        self._keys = tuple(fill(path, {"key_field": target.key}) for path in read.key)
        self._statuses, self._nulls = target.shape.statuses, target.shape.nulls

    async def compare(self, records: Sequence[Record]) -> list[Difference]:
        """One for each record, in order; empty where the API holds it as mapped.

        :raises TerminalError: the API refuses the request, or does not answer as declared.
        :raises Unreachable: it does not answer.
        """
        found = await self._found(records)
        return [self._difference(record, found.get(record.key)) for record in records]

    async def ids(self, records: Sequence[Record]) -> Ids:
        """The API's own ids of the records that it has."""
        found = await self._found(records)
        return {key: as_text(dig(one, self._read.id or "id")) for key, one in found.items()}

    def _difference(self, record: Record, there: Any) -> Difference:
        if there is None:
            return Difference(missing=True)
        ours, theirs = orjson.loads(record.body), dig(there, self._read.properties) or {}
        return Difference(
            tuple(
                name
                for name in self._fields
                if not (_value(ours, name) is None and self._nulls == "omit")
                and not same(_value(ours, name), _value(theirs, name), empty_is_null=self._nulls == "empty")
            )
        )

    async def _found(self, records: Sequence[Record]) -> dict[str, Any]:
        """What the API has of these records, by our keys. Some APIs change the case of a key, e-mail addresses above all."""
        folded = {record.key.casefold(): record.key for record in records}
        wanted, found = {record.key for record in records}, {}
        async for one in self._all(records):
            key = first(one, self._keys)
            text = as_text(key)
            ours = text if text in wanted else folded.get(text.casefold())
            if key is not None and ours is not None:
                found[ours] = one
                if self._renderer.lists and len(found) == len(wanted):
                    break
        return found

    async def _all(self, records: Sequence[Record]) -> AsyncIterator[Any]:
        if self._renderer.lists:
            async for one in self._pages():
                yield one
            return
        size = 1 if self._renderer.single else self._renderer.max_batch
        parts = [records[start : start + size] for start in range(0, len(records), size)]
        answers = [self._ask(self._renderer.path(part), self._renderer.body(part)) for part in parts]
        for answer in await asyncio.gather(*answers):
            for one in self._records(answer):
                yield one

    async def _pages(self) -> AsyncIterator[Any]:
        path = self._renderer.path(())
        while True:
            answer = await self._ask(path, self._renderer.body(()))
            for one in self._records(answer):
                yield one
            after = as_text(dig(answer, self._read.next)) if self._read.next else ""
            if not after:
                return
            path = self._next(after)

    def _next(self, after: str) -> str:
        if "{next}" in self._read.path:
            return self._renderer.path((), next_page=after)
        # A link: of it, only what stands behind our own address, so that the login goes nowhere else.
        parts, base = urlsplit(after), urlsplit(self._client.base)
        path = parts.path.removeprefix(base.path) if base.path != "/" else parts.path
        return path + (f"?{parts.query}" if parts.query else "")

    def _records(self, answer: Any) -> list[Any]:
        found = dig(answer, self._read.found)
        if answer is None:
            return []
        if not self._read.found and isinstance(found, dict):
            return [found]
        if not isinstance(found, list):
            raise TerminalError(
                "the API does not answer as declared",
                where=self._where,
                received=type(answer).__name__,
                allowed=f"a list at {self._read.found!r}" if self._read.found else "one record",
                todo="correct `read` of the declaration",
            )
        return found

    async def _ask(self, path: str, body: bytes | None) -> Any:
        """The answer as JSON; None when a record is not there."""
        headers = {} if body is None else {"Content-Type": "application/json"}
        for tried in range(1, _TRIES + 1):
            response = await self._client.request(self._renderer.method, path, body, headers)
            if response.status in self._statuses.absent and self._renderer.single:
                return None
            if response.status in self._statuses.answered:
                return self._parsed(response)
            busy = response.status in self._statuses.patience or response.status >= 500
            if response.status and not busy:
                raise TerminalError(
                    "the API does not let records be read back",
                    where=self._where,
                    received=f"HTTP {response.status}",
                    allowed=", ".join(map(str, self._statuses.answered)),
                    todo=self._client.auth.todo(),
                )
            wait = response.retry_after or 0.2 * 2.0**tried
            if wait > _LONGEST_WAIT or tried == _TRIES:
                break
            await asyncio.sleep(wait)
        raise Unreachable(response.problem or f"HTTP {response.status}", where=self._where)

    def _parsed(self, response: Response) -> Any:
        try:
            return orjson.loads(response.body)
        except orjson.JSONDecodeError:
            raise TerminalError(
                "the API does not answer as declared",
                where=self._where,
                received=f"{len(response.body)} bytes",
                allowed="JSON",
                todo="correct `read` of the declaration, or the address of the connection",
            ) from None


def same(ours: Any, theirs: Any, *, empty_is_null: bool = False) -> bool:
    """Whether two JSON values say the same: numbers by value, times to the millisecond, the rest as text."""
    if isinstance(ours, dict | list):
        return bool(ours == theirs)
    left, right = _plain(ours, empty_is_null), _plain(theirs, empty_is_null)
    if left is None or right is None or left == right:
        return left == right
    if _NUMBER.fullmatch(left) and _NUMBER.fullmatch(right):
        return Decimal(left) == Decimal(right)
    times = _time(left), _time(right)
    if times[0] is None or times[1] is None:
        return False
    return abs(times[0] - times[1]) < timedelta(milliseconds=1)


def _value(fields: dict[str, Any], name: str) -> Any:
    """A field; one whose name has dots stands deeper."""
    return fields[name] if name in fields else dig(fields, name)


def _plain(value: Any, empty_is_null: bool) -> str | None:
    return None if value is None or (value == "" and empty_is_null) else as_text(value)


def _time(text: str) -> datetime | None:
    """A time with its zone; None for anything else."""
    if len(text) < 16 or "-" not in text[:5]:
        return None
    try:
        # Salesforce writes +0000
        moment = datetime.fromisoformat(re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", text.replace("Z", "+00:00")))
    except ValueError:
        return None
    return moment if moment.tzinfo else None
