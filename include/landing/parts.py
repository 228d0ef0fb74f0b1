"""Encoding rows as Parquet parts while the next rows are read and the last part is uploaded.

Three threads share the work: the caller's reads, one encodes a row group, one uploads a part. Each waits for the next one
before it hands over a second piece, so that memory is bounded by a few row groups and two parts, whatever the rows. What
is left at the end is the caller's, so that a small table needs no thread.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from include.core.manifest import Part

ROW_GROUP_ROWS = 128 * 1024
#: A text column of which a sample has fewer distinct values than this share is written with a dictionary.
_DICTIONARY_SHARE = 0.5
_SAMPLE_ROWS = 4096


@dataclass(frozen=True)
class Sizes:
    """Bytes of a part as it is stored, and of a row group's rows in memory, so that wide rows make row groups of fewer."""

    part: int = 16 * 1024 * 1024
    row_group: int = 12 * 1024 * 1024

    def shared_by(self, writers: int) -> Sizes:
        """Smaller ones, such that so many writers at once need no more memory than two; down to a sixth, below which
        parts would be too many."""
        share = max(min(1.0, 2 / max(writers, 1)), 1 / 6)
        return Sizes(int(self.part * share), int(self.row_group * share))


def write_parts(
    batches: Iterable[pa.RecordBatch],
    folder: str,
    sizes: Sizes,
    put: Callable[[str, io.BytesIO], None],
    progress: Callable[[int], None],
) -> tuple[Part, ...]:
    """Write batches as parts `<folder><number>.parquet` of about this size.

    :param put: stores one object. :param progress: called with the rows written so far.
    """
    try:
        with ThreadPoolExecutor(1, "upload") as uploader, ThreadPoolExecutor(1, "encode") as encoder:
            parts = _Parts(folder, sizes.part, _Turn(uploader, put), progress)
            encode = _Turn(encoder, parts.add)
            waiting: list[pa.RecordBatch] = []
            for batch in batches:
                if batch.num_rows:
                    waiting.append(batch)
                if (
                    sum(one.num_rows for one in waiting) >= ROW_GROUP_ROWS
                    or sum(one.nbytes for one in waiting) >= sizes.row_group
                ):
                    encode.submit(waiting)
                    waiting = []
            if waiting:
                encode.last(waiting)
            encode.wait()
            return parts.close()
    finally:
        # Also when they cannot be written: else what reads them holds on to its connections until the error is forgotten.
        if isinstance(batches, Generator):
            batches.close()


class _Turn:
    """One call at a time in another thread; the next waits for the last, and raises what it raised."""

    def __init__(self, pool: ThreadPoolExecutor, call: Callable[..., None]) -> None:
        self._pool = pool
        self._call = call
        self._pending: Future[None] | None = None

    def submit(self, *arguments: Any) -> None:
        self.wait()
        self._pending = self._pool.submit(self._call, *arguments)

    def last(self, *arguments: Any) -> None:
        """The call after which none comes, here: nothing is left that could be done meanwhile, so that what fits into one
        row group, as most tables do, needs no thread."""
        self.wait()
        self._call(*arguments)

    def wait(self) -> None:
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()


class _Parts:
    """The parts of one stream, written by one thread at a time."""

    def __init__(self, folder: str, part_bytes: int, upload: _Turn, progress: Callable[[int], None]) -> None:
        self._folder = folder
        self._part_bytes = part_bytes
        self._upload = upload
        self._progress = progress
        self._parts: list[Part] = []
        self._writer: pq.ParquetWriter | None = None
        self._sink = io.BytesIO()
        self._rows = self._done = 0

    def add(self, batches: list[pa.RecordBatch]) -> None:
        """Write one row group, and hand over the part that it fills."""
        table = pa.Table.from_batches(batches)
        batches.clear()
        if self._writer is None:
            self._sink, self._rows = io.BytesIO(), 0
            self._writer = _writer(self._sink, table)
        self._writer.write_table(table, row_group_size=table.num_rows)
        self._rows += table.num_rows
        if self._sink.tell() >= self._part_bytes:
            self._hand_over(self._upload.submit)

    def close(self) -> tuple[Part, ...]:
        """All parts, each of them stored."""
        self._hand_over(self._upload.last)
        self._upload.wait()
        return tuple(self._parts)

    def _hand_over(self, upload: Callable[..., None]) -> None:
        if self._writer is None:
            return
        self._writer.close()
        body, key = self._sink, f"{self._folder}{len(self._parts):05d}.parquet"
        self._sink, self._writer = io.BytesIO(), None
        with body.getbuffer() as content:
            part = Part(key, self._rows, len(content), hashlib.sha256(content).hexdigest())
        upload(key, body)
        self._parts.append(part)
        self._done += self._rows
        self._progress(self._done)


def _writer(sink: io.BytesIO, first: pa.Table) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        sink,
        first.schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=[field.name for field in first.schema if _repeats(first.column(field.name))],
        column_encoding={field.name: "DELTA_BINARY_PACKED" for field in first.schema if _delta(field.type)}
        or None,
    )


def _repeats(column: pa.ChunkedArray) -> bool:
    """Whether it is text of few distinct values: looking for repetitions among others is work for nothing."""
    if not pa.types.is_string(column.type):
        return False
    sample = column.slice(0, _SAMPLE_ROWS)
    return bool(pc.count_distinct(sample, mode="all").as_py() <= len(sample) * _DICTIONARY_SHARE)


def _delta(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_int32(kind)
        or pa.types.is_int64(kind)
        or pa.types.is_timestamp(kind)
        or pa.types.is_date32(kind)
    )
