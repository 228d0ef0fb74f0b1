"""A table of the source in a few numbers, computed there: one scan, and nothing moves but the numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from psycopg import sql

from include.core.checksum import Checksum, bucket_query, row_query, text_of
from include.core.contracts.source import Stream
from include.core.schema import StreamSchema
from include.sources.postgres.columns import Columns
from include.sources.postgres.types import expression

#: A session in the snapshot, the stream's table, quoted, and the conditions that together hold for each of its rows once.
At = tuple[Columns, str, Iterable[sql.Composable]]


class PostgresChecksums:
    """See `include.sources.Checksums`. A big table is read in ranges, so that no statement takes too long."""

    def __init__(self, at: Callable[[Stream], AbstractContextManager[At]]) -> None:
        self._at = at

    def whole(self, stream: Stream, schema: StreamSchema) -> Checksum:
        found: list[tuple[int, int, int]] = []
        with self._at(stream) as (session, table, ranges):
            for condition in ranges:
                query = bucket_query(table, *_texts(schema), condition.as_string(None))
                found += ((bucket, rows, int(digest)) for bucket, rows, digest in _rows(session, query))
        return Checksum.of(schema.names, found)

    def digests(
        self, stream: Stream, schema: StreamSchema, count: int, wanted: Sequence[int]
    ) -> dict[str, str]:
        found: dict[str, str] = {}
        with self._at(stream) as (session, table, ranges):
            for condition in ranges if schema.primary_key else [sql.SQL("true")]:
                query = row_query(table, *_texts(schema), condition.as_string(None), count, wanted)
                found |= dict(_rows(session, query))
        return found


def _texts(schema: StreamSchema) -> tuple[list[str], list[str]]:
    texts = {one.name: text_of(expression(one).as_string(None), one.raw_type) for one in schema.columns}
    return list(texts.values()), [texts[name] for name in schema.primary_key]


def _rows(session: Columns, query: str) -> Iterator[tuple[Any, ...]]:
    for batch in session.batches(query):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
