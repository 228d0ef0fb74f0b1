"""Reading a source's log: what a picture of the source says of it, and the slot that makes the source keep it.

A load brings every stream of mode log to the picture that all other streams are read in: it applies exactly those
transactions that this picture sees and the one before did not. Why that loses and doubles nothing stands in
docs/decisions/0023-the-log-up-to-the-snapshot.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from include.core.connection import Connection
from include.core.contracts.source import SourceContract, Stream
from include.core.errors import ContractError
from include.core.manifest import LogMark

if TYPE_CHECKING:
    import pyarrow as pa


class LogPicture(Protocol):
    """Where one picture of a source stands in its log."""

    def anew(self, stream: Stream, mark: LogMark) -> str:
        """Why the log does not say what has changed in the stream since that mark; empty when it does.

        :raises TerminalError: because the source no longer has it.
        """

    def definition(self, stream: Stream) -> str:
        """A digest of the stream's table and of its place in the publication."""

    def changes(self, marks: dict[str, LogMark]) -> Iterator[tuple[str, pa.RecordBatch]]:
        """What has changed in these streams between their marks and this picture: the stream's name, and changes in their
        order, in batches of bounded size (see `include.core.log_changes`)."""

    def mark(self, stream: Stream) -> LogMark:
        """What the next load goes on from. Known only when all `changes` were read."""


@dataclass(frozen=True)
class SlotState:
    """A slot as the source describes it.

    `confirmed` (bytes from the beginning of the log): what was committed before it is no longer told. `behind` is how much
    log was written since, `held` how much the source keeps because of the slot, both in bytes. `wal_status` is the
    server's word: reserved, extended, unreserved, lost. `invalid` says why it is lost; `server` and `timeline` are the
    history that it is of (see `Snapshot.server`); `keep_at_most` bytes of log are kept for slots, None: without limit.
    """

    name: str
    active: bool
    confirmed: int
    behind: int
    held: int
    wal_status: str
    invalid: str
    timeline: int
    keep_at_most: int | None
    server: str


@dataclass(frozen=True)
class FollowedTable:
    """One table of mode log: its stream, whether the publication has it, by which columns the log names a row that was
    changed or deleted, a digest of all this, and what is wrong, in words."""

    stream: str
    table: str
    published: bool
    identity: str
    definition: str
    faults: tuple[str, ...]


class Slot(Protocol):
    """The slot and the publication of one source."""

    def state(self) -> SlotState | None:
        """The slot; None when there is none."""

    def tables(self) -> list[FollowedTable]:
        """Every stream of mode log."""

    def create(self) -> list[str]:
        """Make the publication, add the tables that it lacks, and make the slot. Returns what was done, in words.

        :raises SourceForbidden: with the statements that somebody else has to run. :raises ContractError: no stream is read
            by the log. :raises TerminalError: the server does not write such a log.
        """

    def probe(self) -> None:
        """Nothing when this role can read from the slot; what is read stays there.

        :raises SourceForbidden, TerminalError: it cannot.
        """

    def drop(self) -> list[str]:
        """Remove both, or the slot alone where the role may no more. Returns what was done and what was not, in words."""

    def settle(self, patience: timedelta) -> None:
        """Return when every transaction that is open now has ended.

        :raises TransientError: it took longer.
        """

    def release(self, server: str, timeline: int, position: int) -> bool:
        """Let the source forget what was committed before this position. Whether it had not yet; the slot of another server,
        or another timeline, is left as it is."""


def open_slot(contract: SourceContract, connection: Connection) -> Slot:
    """The slot of a source.

    :raises ContractError: this kind of system has none.
    """
    if contract.kind != "postgres":
        raise ContractError(
            "only a PostgreSQL server has slots", where=f"source {contract.source!r}", received=contract.kind
        )
    from include.sources.postgres.log.slot import PostgresSlot

    return PostgresSlot(contract, connection)
