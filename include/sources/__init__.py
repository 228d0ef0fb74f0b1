"""Reading source systems. A new kind of source is one package that provides `Source`; two functions here know of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from include.core.changes import NOTHING_KNOWN, Change, Known
from include.core.checksum import Checksum
from include.core.connection import Connection
from include.core.contracts.source import SourceContract, Stream
from include.core.errors import ContractError
from include.core.manifest import TransactionMark
from include.core.schema import StreamSchema
from include.sources.discovered import Found
from include.sources.log import LogPicture

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Horizon:
    """Whether everything stamped before a time is committed, and if not, what is still open."""

    passed: bool
    blockers: tuple[str, ...] = ()


class Checksums(Protocol):
    """The tables of one picture in a few numbers, computed in the source. `schema` names the columns that count."""

    def whole(self, stream: Stream, schema: StreamSchema) -> Checksum:
        """What all rows of the stream are told by."""

    def digests(
        self, stream: Stream, schema: StreamSchema, count: int, wanted: Sequence[int]
    ) -> dict[str, str]:
        """Key (as text) and digest of the rows in these buckets out of so many."""


class Snapshot(Protocol):
    """One consistent picture of a source. Its readers may be used from several threads.

    A column with `protect` comes as the system's own text; `include.privacy` puts in its place what may land.

    `changes` is how each stream's table differs from its contract, with what the contract answers; `unread` are tables
    beside those of the contract.
    """

    server: str
    position: tuple[int, ...]
    schemas: dict[str, StreamSchema]
    changes: dict[str, tuple[Change, ...]]
    unread: tuple[str, ...]

    @property
    def log(self) -> LogPicture | None:
        """Where it stands in the source's log; None when no stream that was asked for is read by it."""

    @property
    def checksums(self) -> Checksums | None:
        """Its tables in a few numbers; None where this kind of system computes none that a warehouse could compute too."""

    def rows(
        self, stream: Stream, since: datetime | None = None, before: datetime | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The stream's rows whose cursor lies in `[since, before)`, open where None; in batches of bounded size."""

    def mark(self, stream: Stream) -> TransactionMark | None:
        """Where this picture stands for a stream that is read by the transactions of its rows; None for all others."""

    def anew(self, stream: Stream, mark: TransactionMark) -> str:
        """Why this picture does not say what has changed in the stream since that mark; empty when it does."""

    def changed(self, stream: Stream, mark: TransactionMark) -> Iterator[pa.RecordBatch]:
        """The rows that a transaction wrote which the mark does not count as over, and maybe some more."""

    def keys(self, stream: Stream) -> Iterator[pa.RecordBatch]:
        """The primary keys of every row that the stream has."""

    def unpin(self) -> None:
        """No more rows are read: the source need not keep them as they were. What the log tells goes on."""


class Source(Protocol):
    """A source system, described by its contract."""

    def horizon(self, end: datetime) -> Horizon:
        """Whether all that is stamped before `end` is committed."""

    def snapshot(
        self, streams: list[Stream], before: Known = NOTHING_KNOWN
    ) -> AbstractContextManager[Snapshot]:
        """Open one picture of these streams and compare their shape with the contract.

        :param before: what is known of their shapes from the loads before.
        :raises SchemaChanged: before anything is read, naming every difference that the contract does not let pass.
        :raises SourceForbidden: the role lacks a right that completeness depends on.
        :raises Unreachable: the source does not answer.
        """

    def stale_upstreams(self) -> list[str]:
        """The source's own upstreams whose newest data is older than the contract allows, in words."""


def open_source(contract: SourceContract, connection: Connection) -> Source:
    """The reader for this contract's kind of system."""
    if connection.conn_type != contract.kind:
        raise ContractError(
            "connection is for another kind of system",
            where=f"source {contract.source!r}, connection {contract.connection!r}",
            received=connection.conn_type,
            allowed=contract.kind,
            todo="name another connection in the contract, or correct the connection's type",
        )
    if contract.kind == "mysql":
        from include.sources.mysql.source import MySQLSource

        return MySQLSource(contract, connection)
    from include.sources.postgres.source import PostgresSource

    return PostgresSource(contract, connection)


def discover(connection: Connection, schemas: Sequence[str] = ()) -> Found:
    """What a connection's role can read, from the catalog alone; in these schemas, or in all of them.

    :raises ContractError: there is no such schema, or no reader for this kind of system.
    :raises Unreachable: the source does not answer.
    """
    if connection.conn_type == "mysql":
        from include.sources.mysql.discover import discover as look
    elif connection.conn_type == "postgres":
        from include.sources.postgres.discover import discover as look
    else:
        raise ContractError(
            "discover reads PostgreSQL, MariaDB and MySQL only",
            where=f"connection {connection.conn_id!r}",
            received=connection.conn_type,
            allowed="a connection of type postgres or mysql",
            todo="write a reader for it: docs/how-to/add-a-kind.md",
        )
    return look(connection, schemas)
