"""A raw table in the few numbers that its source's table is told by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from include.core.checksum import Checksum, bucket_query, row_query, text_of
from include.core.quoting import identifier
from include.core.schema import StreamSchema

_ALIVE = "_deleted_at is null"


def checksum(session: psycopg.Connection[Any], raw: str, schema: StreamSchema, count: int) -> Checksum:
    """Of the rows that are alive. :param raw: quoted. :param count: of buckets."""
    found = _rows(session, bucket_query(raw, *_texts(schema), _ALIVE))
    return Checksum.of(schema.names, [(bucket, rows, int(digest)) for bucket, rows, digest in found], count)


def digests(
    session: psycopg.Connection[Any],
    raw: str,
    schema: StreamSchema,
    count: int,
    wanted: Sequence[int],
) -> dict[str, str]:
    """Key (as text) and digest of the rows in these buckets."""
    return dict(_rows(session, row_query(raw, *_texts(schema), _ALIVE, count, wanted)))


def _texts(schema: StreamSchema) -> tuple[list[str], list[str]]:
    texts = {}
    for column in schema.columns:
        # A column of raw may be wider than what the load brought. Elements of an array then look different.
        cast = f"::{column.raw_type}" if column.raw_type.endswith("[]") else ""
        texts[column.name] = text_of(identifier(column.name) + cast, column.raw_type)
    return list(texts.values()), [texts[name] for name in schema.primary_key]


def _rows(session: psycopg.Connection[Any], query: str) -> list[tuple[Any, ...]]:
    return session.execute(query.encode()).fetchall()
