"""The log of a source on its way into the landing zone, and the slot that makes the source keep it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from queue import Full, Queue
from typing import TYPE_CHECKING, Any

from include.core.errors import GateFailed, MillraceError, TerminalError, TransientError
from include.core.manifest import LogMark, StreamManifest
from include.flows.source_run import SourceRun
from include.landing import LandingZone
from include.sources.log import open_slot
from include.warehouse import ledger

if TYPE_CHECKING:
    import pyarrow as pa

    from include.core.contracts.source import Stream
    from include.flows.reading import Reading
    from include.sources import Snapshot
    from include.sources.log import Slot

log = logging.getLogger("millrace.ingest")
#: Batches of one stream that wait for their writer.
_WAITING = 2


def ready(run: SourceRun, known: dict[str, ledger.Watermark]) -> dict[str, str]:
    """Before a picture is taken: see to it that the log tells all that the picture does not show.

    A slot tells of commits after the moment at which it was made. A transaction may have written its commit before and be
    seen only later (while it waits for a replica, say): it would be in neither. And of a table the log tells what was
    written since the publication has had it, not when that is committed: what an open transaction wrote before would be
    in neither. So when nothing in raw shows that the slot has been read before, or a table has come or was altered since,
    the picture waits until every transaction that is open now has ended.

    Returns the definition of each stream's table as it was then, for `same`.

    :raises TransientError: one is open for longer than `horizon_timeout`.
    """
    slot = _slot(run)
    state = slot.state()
    if state is None:
        return {}  # opening the picture says so
    here = (state.server, state.timeline)
    definitions = {table.stream: table.definition for table in slot.tables()}
    read = {
        name: one.log.definition
        for name, one in known.items()
        if one.log is not None and (one.server, one.log.timeline) == here and one.log.lsn >= state.confirmed
    }
    if any(read.get(name) != definition for name, definition in definitions.items()):
        slot.settle(run.contract.impact.horizon_timeout)
    return definitions


def same(run: SourceRun, definitions: dict[str, str], snapshot: Snapshot, streams: list[Stream]) -> None:
    """Nothing, when no table was altered between `ready` and the picture.

    :raises TransientError: one was, while a transaction may have been writing to it.
    """
    assert snapshot.log is not None
    altered = [one.name for one in streams if definitions.get(one.name) != snapshot.log.definition(one)]
    if altered:
        raise TransientError(
            "a table or its publication was altered at this moment", where=run.where,
            received=", ".join(altered), todo="it is tried again",
        )  # fmt: skip


def release(run: SourceRun, known: dict[str, ledger.Watermark]) -> None:
    """Let the source forget the log that every stream has published. When it does not succeed no harm is done: the next
    load does it, and skips what raw has."""
    marks = _marks(run, known)
    places = {(one.server, mark.timeline) for one, mark in marks}
    if len(places) != 1:
        return
    try:
        if _slot(run).release(*places.pop(), min(mark.lsn for _, mark in marks)):
            log.info("the source may forget the log that is published")
    except MillraceError as error:
        log.warning("the slot could not be moved on, the next load does it: %s", error)


def _marks(run: SourceRun, known: dict[str, ledger.Watermark]) -> list[tuple[ledger.Watermark, LogMark]]:
    found = [known[stream.name] for stream in run.contract.logged if stream.name in known]
    return [(one, one.log) for one in found if one.log is not None]


def check_held(run: SourceRun) -> None:
    """Whether the source keeps more of its log for this slot than the contract allows.

    :raises GateFailed: it does; what it had is published.
    """
    if not run.contract.logged:
        return
    state, allowed = _slot(run).state(), run.contract.impact.held_log_mb
    if state is not None and state.held > allowed << 20:
        raise GateFailed(
            "the source keeps more of its log for the slot than allowed; what it had is published", where=run.where,
            received=f"slot {state.name} holds {state.held >> 20} MB, {state.behind >> 20} MB of them not read yet",
            allowed=f"held_log_mb: {allowed}",
            todo="pull more often; or find what has been open for long (pg_stat_activity, pg_prepared_xacts): the log is"
            " kept from its begin on. max_slot_wal_keep_size bounds what a slot may hold, at the price of the slot",
        )  # fmt: skip


def follow(
    run: SourceRun,
    followed: list[Reading],
    snapshot: Snapshot,
    zone: LandingZone,
    load_id: int,
    moment: datetime,
) -> list[tuple[StreamManifest, int]]:
    """Land the changes between the marks of streams and the picture. Returns the manifest of each, without its new mark, and
    the number of changes; of a stream that has no mark, because it is read whole, nothing.

    The log is one sequence for all streams, so one thread reads it and one for each stream that has changed writes.
    """
    started = time.monotonic()
    assert snapshot.log is not None
    readings = [reading for reading in followed if reading.log_mark is not None]
    marks = {reading.stream.name: mark for reading in readings if (mark := reading.log_mark) is not None}
    writers: dict[str, _Writer] = {}
    with ThreadPoolExecutor(max(1, len(readings)), thread_name_prefix="follow") as pool:
        try:
            for name, batch in snapshot.log.changes(marks):
                if name not in writers:
                    writers[name] = _Writer(pool, zone, (run.contract.source, name, load_id, moment))
                writers[name].write(batch)
            landed = {name: writer.finish() for name, writer in writers.items()}
        except BaseException:
            for writer in writers.values():
                writer.abandon()
            raise
    seconds = round(time.monotonic() - started, 3)
    found = []
    for reading in readings:
        parts, rows = landed.get(reading.stream.name, ((), 0))
        manifest = StreamManifest(
            stream=reading.stream.name, mode=reading.stream.mode, schema=snapshot.schemas[reading.stream.name],
            parts=parts, key_parts=None, complete=False, watermark_from=None, watermark_to=None, newest=None,
            seconds=seconds, changes=snapshot.changes[reading.stream.name],
        )  # fmt: skip
        log.info("%s: %s changes, %s bytes landed", manifest.stream, rows, manifest.bytes)
        found.append((manifest, rows))
    return found


class _Abandoned(Exception):
    """The log could not be read to its end."""


@dataclass
class _Writer:
    """The parts of one stream, written by a thread of its own."""

    pool: ThreadPoolExecutor
    zone: LandingZone
    name: tuple[str, str, int, datetime]
    _batches: Queue[Any] = field(default_factory=lambda: Queue(_WAITING))
    _rows: int = 0

    def __post_init__(self) -> None:
        self._done: Future[Any] = self.pool.submit(self.zone.write_rows, *self.name, self._incoming())

    def write(self, batch: pa.RecordBatch) -> None:
        self._rows += batch.num_rows
        self._put(batch)

    def finish(self) -> tuple[Any, int]:
        """The parts, and the rows that were handed over."""
        self._put(None)
        return self._done.result(), self._rows

    def abandon(self) -> None:
        with suppress(BaseException):
            self._put(_Abandoned())
            self._done.result()

    def _put(self, item: Any) -> None:
        while True:
            try:
                self._batches.put(item, timeout=0.2)
                return
            except Full:
                if self._done.done():
                    self._done.result()  # raises what ended it
                    raise TerminalError("a writer ended before its stream did") from None

    def _incoming(self) -> Iterator[pa.RecordBatch]:
        while (item := self._batches.get()) is not None:
            if isinstance(item, _Abandoned):
                raise item
            yield item


def _slot(run: SourceRun) -> Slot:
    return open_slot(run.contract, run.connect(run.contract.connection))
