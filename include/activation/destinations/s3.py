"""Files in an S3-style store, for those who read files.

    <prefix>/run=<begin of the run>-<random>/<hash of the batch>.jsonl     one a batch
    <prefix>/run=…/_manifest.json                                          written last: a run without one is not complete
    <prefix>/_open.json                                                    which run is being written, if any

Each line is a record with its `_action`: create, update or delete. The newest line of a key counts, by the run's name. A run
that died without its manifest gets it from the next one, which also sends again what had no answer: a line may stand in two
runs then, and reading it twice has the effect of once.
"""

from __future__ import annotations

import hashlib
import io
import logging
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from threading import Lock
from typing import Any

import orjson

from include.activation.destinations.json_text import members
from include.activation.records import DELIVERED, Outcome, Record
from include.core.connection import Connection
from include.core.contracts.destinations import S3Destination
from include.core.contracts.sync import SyncContract
from include.core.errors import ContractError, MillraceError, NotLanded, TransientError
from include.landing.store import ObjectStore

_log = logging.getLogger("millrace.activation")
_ACTION = "_action"
_MANIFEST = "_manifest.json"


class S3Files:
    """Delivers to one prefix. Several threads may call `send`."""

    concurrency = 4

    def __init__(self, contract: SyncContract, connection: Connection) -> None:
        target = contract.destination
        assert isinstance(target, S3Destination)
        self._sync, self._format, self._prefix = contract.sync, target.format, target.prefix
        self._names = tuple(contract.mapping)
        if _ACTION in self._names:
            raise ContractError(
                "a field has the name under which each line tells what happened to its record",
                where=f"sync {contract.sync!r}, mapping",
                received=_ACTION,
                allowed="any other name",
            )
        self._store = ObjectStore(connection)
        self._run = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(4)}"
        self._files: dict[str, dict[str, Any]] = {}
        self._lock, self._begun = Lock(), False

    def check(self) -> None:
        """See that the prefix can be read and written, and give a run that died its manifest.

        :raises TerminalError: the store refuses us.
        :raises Unreachable: it does not answer.
        """
        try:
            dead = orjson.loads(self._store.get(self._open))["run"]
        except NotLanded:
            dead = None
        if dead:
            folder = f"{self._prefix}/run={dead}/"
            there = self._store.keys(folder)
            if f"{folder}{_MANIFEST}" not in there:
                self._complete(dead, {key: _facts(self._store.get(key)) for key in there})
        self._note(None)

    def send(self, batch: Sequence[Record]) -> list[Outcome]:
        """Write the batch as one file.

        :raises TerminalError: the store refuses us.
        """
        # The same batch has the same name, so that sent twice it is there once.
        named = hashlib.sha256(repr([(r.key, r.fingerprint, r.action) for r in batch]).encode()).hexdigest()[
            :32
        ]
        key = f"{self._prefix}/run={self._run}/{named}.{self._format}"
        body = _WRITERS[self._format](batch, self._names)
        try:
            with self._lock:
                if not self._begun:
                    self._note(self._run)
                    self._begun = True
            self._store.put(key, body)
        except TransientError as error:
            return [Outcome("retryable", error.what)] * len(batch)
        with self._lock:
            self._files[key] = _facts(body) | {"rows": len(batch)}
        return [DELIVERED] * len(batch)

    def close(self) -> None:
        """Complete the run. What fails here is done by the next run."""
        try:
            if self._files:
                self._complete(self._run, self._files)
            if self._begun:
                self._note(None)
        except MillraceError as error:
            _log.warning(
                "sync %r: run %s has no manifest yet, the next run writes it: %s",
                self._sync,
                self._run,
                error,
            )
        finally:
            self._store.close()

    @property
    def _open(self) -> str:
        return f"{self._prefix}/_open.json"

    def _note(self, run: str | None) -> None:
        self._store.put(self._open, orjson.dumps({"run": run}))

    def _complete(self, run: str, files: dict[str, dict[str, Any]]) -> None:
        manifest = {
            "sync": self._sync,
            "run": run,
            "format": self._format,
            "fields": [*self._names, _ACTION],
            "files": [{"key": key, **files[key]} for key in sorted(files)],
        }
        self._store.put(f"{self._prefix}/run={run}/{_MANIFEST}", orjson.dumps(manifest))


def _facts(body: bytes) -> dict[str, Any]:
    return {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}


def _jsonl(batch: Sequence[Record], names: Sequence[str]) -> bytes:
    # The record is the warehouse's own text: no number is read and written anew.
    return "".join(
        f'{record.body.rstrip()[:-1]},"{_ACTION}":"{record.action}"}}\n' for record in batch
    ).encode()


def _csv(batch: Sequence[Record], names: Sequence[str]) -> bytes:
    """RFC 4180; what is not null stands in quotes, so that an empty text is not taken for null."""
    lines: list[list[str | None]] = [[*names, _ACTION], *_texts(batch, names)]
    return "".join(",".join(map(_quoted, line)) + "\r\n" for line in lines).encode()


def _parquet(batch: Sequence[Record], names: Sequence[str]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = list(zip(*_texts(batch, names), strict=True))
    table = pa.table(
        {name: pa.array(values, pa.string()) for name, values in zip((*names, _ACTION), columns, strict=True)}
    )
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd")
    return file.getvalue()


def _texts(batch: Sequence[Record], names: Sequence[str]) -> list[list[str | None]]:
    rows: list[list[str | None]] = []
    for record in batch:
        values = {name: _text(written) for name, written in members(record.body)}
        rows.append([*map(values.get, names), record.action])
    return rows


def _text(written: str) -> str | None:
    if written == "null":
        return None
    return str(orjson.loads(written)) if written[0] == '"' else written


def _quoted(value: str | None) -> str:
    return "" if value is None else '"' + value.replace('"', '""') + '"'


_WRITERS: dict[str, Callable[[Sequence[Record], Sequence[str]], bytes]] = {
    "jsonl": _jsonl,
    "csv": _csv,
    "parquet": _parquet,
}
