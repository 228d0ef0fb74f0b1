"""A raw table in the few numbers that its source's table is told by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from include.core.fingerprint import Fingerprint, bucket_query, row_query
from include.core.quoting import identifier
from include.core.schema import StreamSchema

_ALIVE = "_deleted_at is null"
# As the sessions at a source are set: a value's text depends on these.
_SETTINGS = (
    "set local intervalstyle = 'postgres'; set local bytea_output = 'hex'; set local extra_float_digits = 1"
)


def fingerprint(session: psycopg.Connection[Any], raw: str, schema: StreamSchema, count: int) -> Fingerprint:
    """Of the rows that are alive. :param raw: quoted. :param count: of buckets."""
    found = _rows(session, bucket_query(raw, *_texts(schema), _ALIVE))
    return Fingerprint.of(
        schema.names, [(bucket, rows, int(digest)) for bucket, rows, digest in found], count
    )


def digests(
    session: psycopg.Connection[Any],
    raw: str,
    schema: StreamSchema,
    count: int,
    wanted: Sequence[int],
    limit: int,
) -> dict[str, int]:
    """Key (as text) and digest of the rows in these buckets, no more than `limit`."""
    return dict(_rows(session, row_query(raw, *_texts(schema), _ALIVE, count, wanted, limit)))


def _texts(schema: StreamSchema) -> tuple[list[str], list[str]]:
    # By way of the type that the load brought: a column of raw may be wider, and a wider one may look different.
    texts = {column.name: f"{identifier(column.name)}::{column.raw_type}::text" for column in schema.columns}
    return list(texts.values()), [texts[name] for name in schema.primary_key]


def _rows(session: psycopg.Connection[Any], query: str) -> list[tuple[Any, ...]]:
    with session.transaction():
        session.execute(_SETTINGS)
        return session.execute(query.encode()).fetchall()
