"""The manifest: what one load put into the landing zone. A load that has none has not landed.

Readers see only parts that a manifest lists, so a part written by an attempt that died is invisible.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import orjson

from include.core.changes import Change
from include.core.checksum import Checksum
from include.core.schema import StreamSchema

FORMAT = 1
_NO_SCHEMA = StreamSchema(())


@dataclass(frozen=True)
class Part:
    """One Parquet object: its key, rows, bytes, and the SHA-256 of its bytes in hex."""

    key: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class TransactionMark:
    """A watermark in transactions instead of time: what a stream that is read by the transactions of its rows goes on from.

    Every change of a transaction before `xid` (64 bits, so never used twice) was in the snapshot. That speaks of one
    `timeline` of the server's history, and only of rows in these `files`, each the id of a table or partition and of
    the file that holds it. `taken` is the time of the snapshot by the source's clock, as ISO 8601.
    """

    xid: int
    timeline: int
    files: tuple[tuple[int, int], ...]
    taken: str

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TransactionMark:
        return cls(**data | {"files": tuple((table, file) for table, file in data["files"])})


@dataclass(frozen=True)
class LogMark:
    """A watermark in the source's log: what a stream of mode log goes on from.

    Exactly the transactions that `snapshot` (as `pg_current_snapshot()` writes it: `xmin:xmax:xip,…`) sees are in raw. All
    others come in the log at or after `lsn` (bytes from its beginning). That speaks of one `timeline` of the server's
    history, and of a table with this `definition`, a digest that every change of its columns or publication alters.
    """

    snapshot: str
    lsn: int
    timeline: int
    definition: str


@dataclass(frozen=True)
class StreamManifest:
    """One stream of a load.

    `parts` hold its rows. `key_parts` hold the complete set of primary keys that the source had in the same snapshot,
    where the contract asks for deletes by keys. `complete` says that `parts` are the whole table, so that what is
    missing from them no longer exists. `watermark_from` and `watermark_to` bound the cursor, closed-open, as ISO 8601;
    `mark` stands in place of the latter where rows are told apart by their transactions, and `log` where the source's log
    tells of them; then `parts` hold changes instead of rows (see `include.core.log_changes`), unless they are the whole
    table. `changes` is how the table differed from the contract, and what the contract answered. `checksum` is that of
    the whole table in the same snapshot, in a load that compares raw with its source. `retried` rows of the stream's
    quarantine go along.
    """

    stream: str
    mode: str
    schema: StreamSchema
    parts: tuple[Part, ...]
    key_parts: tuple[Part, ...] | None
    complete: bool
    watermark_from: str | None
    watermark_to: str | None
    newest: str | None
    seconds: float
    mark: TransactionMark | None = None
    changes: tuple[Change, ...] = ()
    log: LogMark | None = None
    checksum: Checksum | None = None
    retried: int = 0

    @property
    def held_back(self) -> bool:
        """Whether the contract holds this stream back because of how its table has changed."""
        return any(change.answer == "quarantine" for change in self.changes)

    @property
    def holds_changes(self) -> bool:
        """Whether its parts hold changes instead of rows."""
        return self.log is not None and not self.complete

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    @property
    def keys(self) -> int | None:
        return None if self.key_parts is None else sum(part.rows for part in self.key_parts)

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in (*self.parts, *(self.key_parts or ())))

    @property
    def moves(self) -> bool:
        """Whether there is anything to stage and audit: rows, also of its quarantine, or a picture of the whole table that
        may show deletes, or a change that holds the stream back."""
        return (
            bool(self.rows or self.retried) or self.complete or self.key_parts is not None or self.held_back
        )


@dataclass(frozen=True)
class Manifest:
    """One load of one source: all streams, read in one snapshot of the source.

    `position` is where that snapshot stands in the source's history; a later snapshot of the same server has a greater
    one (compared as a list of integers). `full_refresh` says that everything was read anew, whatever raw held: only
    then may the snapshot be of another server, or of an earlier moment. `snapshot_seconds` is how long it was held.
    """

    source: str
    load_id: int
    run_id: str
    kind: str
    server: str
    position: tuple[int, ...]
    extracted_at: str
    streams: tuple[StreamManifest, ...]
    full_refresh: bool = field(default=False)
    snapshot_seconds: float | None = field(default=None)
    format: int = field(default=FORMAT)

    def stream(self, name: str) -> StreamManifest:
        return next(stream for stream in self.streams if stream.stream == name)

    def to_bytes(self) -> bytes:
        streams = [
            asdict(replace(stream, schema=_NO_SCHEMA, checksum=None))
            | {"schema": stream.schema.to_json() | {"fingerprint": stream.schema.fingerprint}}
            | ({"checksum": stream.checksum.to_json()} if stream.checksum else {})
            for stream in self.streams
        ]
        data: dict[str, Any] = asdict(replace(self, streams=())) | {"streams": streams}
        return orjson.dumps(data, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)

    @classmethod
    def from_bytes(cls, body: bytes) -> Manifest:
        data = orjson.loads(body)
        streams = []
        for row in data.pop("streams"):
            row["schema"] = StreamSchema.from_json(row["schema"])
            row["parts"] = tuple(Part(**part) for part in row["parts"])
            if row["key_parts"] is not None:
                row["key_parts"] = tuple(Part(**part) for part in row["key_parts"])
            if row.get("mark") is not None:
                row["mark"] = TransactionMark.from_json(row["mark"])
            row["changes"] = tuple(Change(**change) for change in row.get("changes", ()))
            if row.get("log") is not None:
                row["log"] = LogMark(**row["log"])
            if row.get("checksum") is not None:
                row["checksum"] = Checksum.from_json(row["checksum"])
            streams.append(StreamManifest(**row))
        data["position"] = tuple(data["position"])
        return cls(streams=tuple(streams), **data)
