"""One big table read over several connections at once: in ranges of its pages, within one snapshot.

A row version that a snapshot shows stays where it is for as long as the snapshot is held: only what rewrites the table moves
it, and that is noticed (`catalog.storage`). So ranges of pages that meet, the last one open, hold each row once. The server
reads such a range without touching other pages from version 14 on
(https://www.postgresql.org/docs/14/release-14.html, "Allow efficient heap scanning of a range of TIDs").
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pyarrow as pa
from psycopg import Connection, sql

#: Of 8 KiB each, as PostgreSQL counts them by default: a range of 128 MiB.
PAGES = 16 * 1024

# Of a table with partitions or children a range takes its pages from each of them.
_LARGEST = """
select t.stream, max(pg_relation_size(c.oid) / current_setting('block_size')::int)
  from unnest(%(streams)s::text[], %(tables)s::oid[]) t(stream, id)
  join pg_class c on c.oid = t.id left join pg_am a on a.oid = c.relam
 group by t.stream
having bool_and(c.relkind = 'p' or (c.relkind in ('r', 'm') and a.amhandler::text = 'heap_tableam_handler'))
"""
_WHOLE = (sql.SQL("true"),)


def page_ranges(
    connection: Connection[Any], storage: Mapping[str, tuple[Any, ...]]
) -> dict[str, Sequence[sql.Composable]]:
    """For each stream, conditions each of which holds for a part of its table's rows, and one of which for every row.

    One question, however many they are: most tables are small. :param storage: of each table, see `catalog.storage`.
    """
    if connection.info.server_version < 140_000:
        return dict.fromkeys(storage, _WHOLE)
    members = [(stream, table) for stream, (_, files) in storage.items() for table, _ in files]
    asked = {"streams": [stream for stream, _ in members], "tables": [table for _, table in members]}
    largest = dict(connection.execute(_LARGEST, asked).fetchall())
    return {stream: _ranges(largest.get(stream) or 0) for stream in storage}


def _ranges(pages: int) -> Sequence[sql.Composable]:
    if pages <= PAGES:
        return _WHOLE
    return [_between(first, end) for first, end in pairwise([None, *range(PAGES, pages, PAGES), None])]


def _between(first: int | None, end: int | None) -> sql.Composable:
    bounds = [
        sql.SQL("ctid {} {}::tid").format(sql.SQL(sign), f"({page},0)")
        for sign, page in ((">=", first), ("<", end))
        if page is not None
    ]
    return sql.SQL(" and ").join(bounds)


class _Over:
    """What a reader leaves behind its last batch: nothing, or the error that ended it."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def together(
    readers: Sequence[Callable[[], Iterator[pa.RecordBatch]]], permits: threading.Semaphore
) -> Iterator[pa.RecordBatch]:
    """The batches of all readers, in the order in which they come; of several, each works in a thread of its own.

    Each works under a permit. One of them always runs, further ones where a permit is free: what other streams do not
    use now is used here.

    :raises: what a reader raised; the others are stopped.
    """
    if len(readers) == 1:
        with permits:
            yield from readers[0]()
        return
    arrived: queue.Queue[pa.RecordBatch | _Over] = queue.Queue(2)
    stopped = threading.Event()
    threads: list[threading.Thread] = []
    waiting, running = list(reversed(readers)), 0
    try:
        while waiting or running:
            while waiting and permits.acquire(blocking=not running):
                threads.append(_started(waiting.pop(), arrived, stopped, permits))
                running += 1
            found = arrived.get()
            if not isinstance(found, _Over):
                yield found
                continue
            if found.error is not None:
                raise found.error
            running -= 1
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def _started(
    reader: Callable[[], Iterator[pa.RecordBatch]],
    arrived: queue.Queue[pa.RecordBatch | _Over],
    stopped: threading.Event,
    permits: threading.Semaphore,
) -> threading.Thread:
    def hand_over(found: pa.RecordBatch | _Over) -> bool:
        while not stopped.is_set():
            try:
                arrived.put(found, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def read() -> None:
        over = _Over()
        try:
            if not all(map(hand_over, reader())):
                return
        except BaseException as error:
            over = _Over(error)
        finally:
            permits.release()
        hand_over(over)

    thread = threading.Thread(target=read, name="range", daemon=True)
    thread.start()
    return thread
