"""A table of the source in a few numbers, computed there: one scan, and nothing moves but the numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from include.core.contracts.source import Stream
from include.core.fingerprint import Fingerprint, bucket_query, row_query
from include.core.schema import StreamSchema
from include.sources.postgres.columns import Columns
from include.sources.postgres.types import expression


class PostgresFingerprints:
    """See `include.sources.Fingerprints`. :param at: a session in the snapshot, and the table of a stream, quoted."""

    def __init__(self, at: Callable[[Stream], AbstractContextManager[tuple[Columns, str]]]) -> None:
        self._at = at

    def whole(self, stream: Stream, schema: StreamSchema) -> Fingerprint:
        with self._at(stream) as (session, table):
            found = list(_rows(session, bucket_query(table, *_texts(schema))))
        return Fingerprint.of(schema.names, [(bucket, rows, int(digest)) for bucket, rows, digest in found])

    def digests(
        self, stream: Stream, schema: StreamSchema, count: int, wanted: Sequence[int], limit: int
    ) -> dict[str, int]:
        with self._at(stream) as (session, table):
            return dict(_rows(session, row_query(table, *_texts(schema), "true", count, wanted, limit)))


def _texts(schema: StreamSchema) -> tuple[list[str], list[str]]:
    texts = {column.name: f"({expression(column).as_string(None)})::text" for column in schema.columns}
    return list(texts.values()), [texts[name] for name in schema.primary_key]


def _rows(session: Columns, query: str) -> Iterator[tuple[Any, ...]]:
    for batch in session.batches(query):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
