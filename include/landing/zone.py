"""Where things lie in the landing zone, and how they get there and back.

    <source>/<stream>/date=<YYYY-MM-DD>/load=<load id>/<number>.parquet        rows
    <source>/<stream>/date=<YYYY-MM-DD>/load=<load id>/keys-<number>.parquet   primary keys
    <source>/_loads/date=<YYYY-MM-DD>/load=<load id>/_manifest.json                    written last

A load id is used by one attempt only, so no object is ever written twice; what an attempt that died left behind is in no
manifest, and so no reader sees it.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from include.core.errors import NotLanded
from include.core.manifest import Manifest, Part
from include.landing.store import ObjectStore

PART_BYTES = 32 * 1024 * 1024
ROW_GROUP_ROWS = 128 * 1024


class LandingZone:
    """The parts and manifests of all sources in one store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def write_rows(
        self,
        source: str,
        stream: str,
        load_id: int,
        moment: datetime,
        batches: Iterable[pa.RecordBatch],
        *,
        keys: bool = False,
        progress: Callable[[int], None] = lambda rows: None,
        part_bytes: int = PART_BYTES,
    ) -> tuple[Part, ...]:
        """Write batches as Parquet parts. Encoding and upload overlap; memory is bounded by two parts.

        :param progress: called with the rows written so far.
        :raises Unreachable: the store does not answer; what was uploaded is in no manifest and harms nobody.
        """
        folder = (
            f"{_path(source)}/{_path(stream)}/date={moment:%Y-%m-%d}/load={load_id}/{'keys-' if keys else ''}"
        )
        parts: list[Part] = []
        pending: Future[None] | None = None
        done = 0
        with ThreadPoolExecutor(1, thread_name_prefix="upload") as uploader:
            for number, (body, rows) in enumerate(_encode(batches, part_bytes)):
                if pending is not None:
                    pending.result()
                part = Part(
                    f"{folder}{number:05d}.parquet", rows, len(body), hashlib.sha256(body).hexdigest()
                )
                pending = uploader.submit(self._store.put, part.key, body)
                parts.append(part)
                done += rows
                progress(done)
            if pending is not None:
                pending.result()
        return tuple(parts)

    def read_rows(self, parts: Iterable[Part]) -> Iterator[pa.RecordBatch]:
        """The rows of parts, one part in memory at a time.

        :raises NotLanded: a part is missing, or its bytes are not those that the manifest lists.
        """
        for part in parts:
            body = self._store.get(part.key)
            if hashlib.sha256(body).hexdigest() != part.sha256:
                raise NotLanded(
                    "the part's bytes are not those that were landed",
                    where=part.key,
                    received=f"{len(body)} bytes",
                    allowed=f"{part.bytes} bytes with SHA-256 {part.sha256}",
                    todo="find out who writes into the landing zone, then extract again",
                )
            yield from pq.ParquetFile(pa.BufferReader(body)).iter_batches(batch_size=ROW_GROUP_ROWS)

    def commit(self, manifest: Manifest, moment: datetime) -> str:
        """Write the manifest; from now on the load has landed. Returns the manifest's key."""
        key = manifest_key(manifest.source, manifest.load_id, moment)
        self._store.put(key, manifest.to_bytes())
        return key

    def manifest(self, key: str) -> Manifest:
        """The manifest at a key.

        :raises NotLanded: there is none.
        """
        return Manifest.from_bytes(self._store.get(key))


def manifest_key(source: str, load_id: int, moment: datetime) -> str:
    """Where the manifest of a load stands."""
    return f"{_path(source)}/_loads/date={moment:%Y-%m-%d}/load={load_id}/_manifest.json"


def _path(name: str) -> str:
    """A name of any spelling as one path segment; a leading underscore is ours alone."""
    text = quote(name, safe="")
    return f"%5F{text[1:]}" if text.startswith("_") else text


def _encode(batches: Iterable[pa.RecordBatch], part_bytes: int) -> Iterator[tuple[memoryview, int]]:
    writer: pq.ParquetWriter | None = None
    sink, rows, waiting = io.BytesIO(), 0, []
    for batch in batches:
        if batch.num_rows == 0:
            continue
        if writer is None:
            sink, rows = io.BytesIO(), 0
            writer = _writer(sink, batch.schema)
        waiting.append(batch)
        if sum(b.num_rows for b in waiting) >= ROW_GROUP_ROWS:
            rows += _flush(writer, waiting)
            if sink.tell() >= part_bytes:
                writer.close()
                yield sink.getbuffer(), rows
                writer = None
    if writer is not None:
        rows += _flush(writer, waiting)
        writer.close()
        yield sink.getbuffer(), rows


def _flush(writer: pq.ParquetWriter, waiting: list[pa.RecordBatch]) -> int:
    if not waiting:
        return 0
    table = pa.Table.from_batches(waiting)
    waiting.clear()
    writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
    return int(table.num_rows)


def _writer(sink: io.BytesIO, schema: pa.Schema) -> pq.ParquetWriter:
    deltas = [
        field.name for field in schema if pa.types.is_integer(field.type) or pa.types.is_temporal(field.type)
    ]
    return pq.ParquetWriter(
        sink,
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=[field.name for field in schema if pa.types.is_string(field.type)],
        column_encoding={name: "DELTA_BINARY_PACKED" for name in deltas if _delta(schema.field(name).type)}
        or None,
    )


def _delta(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_int32(kind)
        or pa.types.is_int64(kind)
        or pa.types.is_timestamp(kind)
        or pa.types.is_date32(kind)
    )
