"""Where things lie in the landing zone, and how they get there and back.

    <source>/<stream>/date=<YYYY-MM-DD>/load=<load id>/<number>.parquet        rows
    <source>/<stream>/date=<YYYY-MM-DD>/load=<load id>/keys-<number>.parquet   primary keys
    <source>/_loads/date=<YYYY-MM-DD>/load=<load id>/_manifest.json                    written last

A load id is used by one attempt only, so no object is ever written twice; what an attempt that died left behind is in no
manifest, and so no reader sees it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from include.core.errors import NotLanded
from include.core.manifest import Manifest, Part
from include.landing.parts import Sizes, write_parts
from include.landing.store import ObjectStore

READ_ROWS = 32 * 1024


class LandingZone:
    """The parts and manifests of all sources in one store."""

    def __init__(self, store: ObjectStore, writers: int = 1) -> None:
        """:param writers: how many streams are written at once; they share the memory that two would take."""
        self._store = store
        self._sizes = Sizes().shared_by(writers)

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
        sizes: Sizes | None = None,
    ) -> tuple[Part, ...]:
        """Write batches as Parquet parts. Reading, encoding and upload overlap, in bounded memory.

        :param progress: called with the rows written so far.
        :raises Unreachable: the store does not answer; what was uploaded is in no manifest and harms nobody.
        """
        folder = (
            f"{_path(source)}/{_path(stream)}/date={moment:%Y-%m-%d}/load={load_id}/{'keys-' if keys else ''}"
        )
        return write_parts(batches, folder, sizes or self._sizes, self._store.put, progress)

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
            yield from pq.ParquetFile(pa.BufferReader(body)).iter_batches(batch_size=READ_ROWS)

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
