"""What one load reads of one stream, and the count of what it read."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from include.core.contracts.source import SourceContract, Stream
from include.core.errors import TerminalError
from include.core.interval import Interval
from include.core.manifest import LogMark, TransactionMark
from include.core.schema import StreamSchema
from include.flows.evolution import replaced

if TYPE_CHECKING:
    import pyarrow as pa

    from include.sources import Snapshot
    from include.warehouse.ledger import Watermark

log = logging.getLogger("millrace.ingest")

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Reading:
    """What one load reads of one stream."""

    stream: Stream
    known: Watermark | None
    contract: SourceContract
    interval: Interval
    past: bool
    full_refresh: bool

    def in_shape(self, snapshot: Snapshot, before: StreamSchema | None) -> Reading:
        """The same, but of the whole table when its shape is not the one that raw was loaded with: a column that was added
        has values in rows that carry no new stamp. What is held back for its changes reads on as before."""
        known = self.known.schema_fingerprint if self.known else None
        now, changes = snapshot.schemas[self.stream.name], snapshot.changes[self.stream.name]
        if self.past or known is None or any(change.answer == "quarantine" for change in changes):
            return self
        if known == now.fingerprint and not replaced(before, now):
            return self
        log.info("%s: its shape has changed, so the whole table is read", self.stream.name)
        return replace(self, full_refresh=True)

    def in_history(self, snapshot: Snapshot) -> Reading:
        """The same, but of the whole table when the source's history is not the one that its mark speaks of."""
        why = snapshot.anew(self.stream, self.mark) if self.mark else ""
        if self.log_mark and snapshot.log:
            why = snapshot.log.anew(self.stream, self.log_mark)
        if not why:
            return self
        log.info("%s: the whole table is read: %s", self.stream.name, why)
        return replace(self, full_refresh=True)

    @property
    def wanted(self) -> bool:
        return not (self.past and self.stream.stamp is None)

    @property
    def complete(self) -> bool:
        """Whether what is read is the whole table, so that what it lacks no longer exists."""
        return self.since is None and self.before is None and self.mark is None and self.log_mark is None

    @property
    def keys(self) -> bool:
        """Whether all primary keys are read beside the increment, to find what was deleted."""
        return self.stream.deletes == "keys" and not self.past and not self.complete

    @property
    def mark(self) -> TransactionMark | None:
        """What has changed since then is read; None for a stream that is not read by the transactions of its rows."""
        if not self.stream.by_xmin or self.past or self.full_refresh or self.known is None:
            return None
        return self.known.mark

    @property
    def log_mark(self) -> LogMark | None:
        """What the source's log tells since then is read; None for a stream that is not read by the log."""
        if self.stream.mode != "log" or self.past or self.full_refresh or self.known is None:
            return None
        return self.known.log

    @property
    def since(self) -> datetime | None:
        if self.stream.stamp is None:
            return None
        if self.past:
            return self.interval.start
        if self.full_refresh or self.known is None or self.known.watermark is None:
            return None
        return self.known.watermark - self.contract.lateness_or_zero()

    @property
    def before(self) -> datetime | None:
        return self.interval.end if self.past and self.stream.stamp else None

    def rows(self, snapshot: Snapshot) -> Iterator[pa.RecordBatch]:
        """What is read, in batches of bounded size."""
        if self.mark:
            return snapshot.changed(self.stream, self.mark)
        return snapshot.rows(self.stream, self.since, self.before)

    def check_retention(self) -> None:
        """Fail when the source may have dropped rows between what was read last and now.

        :raises TerminalError: the watermark is older than the source keeps its data.
        """
        keeps = self.contract.keeps
        since = datetime.fromisoformat(self.mark.taken) if self.mark else self.since
        if since is None or self.past or not isinstance(keeps, timedelta):
            return
        if self.interval.end - since > keeps:
            raise TerminalError(
                "the source may have dropped rows that were never read",
                where=f"source {self.contract.source!r}, stream {self.stream.name!r}",
                received=f"nothing was read since {since.isoformat()}", allowed=f"keeps: {keeps}",
                todo="ask the owner what is gone, then start the DAG with full_refresh",
            )  # fmt: skip


@dataclass
class Tally:
    """Counts what the reader hands out, apart from what is written, and keeps the newest cursor."""

    stream: Stream
    rows: int = 0
    newest: datetime | None = None
    _shown: float = field(default_factory=time.monotonic)

    def count(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The same batches, counted as they pass."""
        import pyarrow.compute as pc

        for batch in batches:
            self.rows += batch.num_rows
            if self.stream.stamp and batch.num_rows:
                last = pc.max(batch.column(self.stream.stamp))
                if last.is_valid:
                    # its microseconds: to make a datetime of it, pyarrow loads pandas
                    newest = _EPOCH + timedelta(microseconds=last.value)
                    self.newest = max(self.newest or newest, newest)
            yield batch

    def show(self, written: int) -> None:
        """Called with the rows written so far."""
        if time.monotonic() - self._shown > 10:
            self._shown = time.monotonic()
            log.info("%s: %s rows so far", self.stream.name, written)
