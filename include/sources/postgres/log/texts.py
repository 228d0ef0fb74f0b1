"""From the text in which the log tells values to what lands: the same that a read of the table lands."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from include.core.log_changes import ADDED, of_changes
from include.core.schema import Column, StreamSchema
from include.sources.carriers import arrow_schema
from include.sources.postgres.log.pgoutput import UNCHANGED, Value
from include.sources.postgres.values import not_exact


def target(schema: StreamSchema) -> pa.Schema:
    """The Parquet types of a stream's changes."""
    return arrow_schema(of_changes(schema))


def batch(
    schema: StreamSchema, kinds: pa.Schema, rows: list[list[Value]], added: list[tuple[str, int]], where: str
) -> pa.RecordBatch:
    """Changes as they land.

    :param rows: the columns' values as text. :param added: operation and number of each.
    :raises TypeNotExact: a value lies outside what its carrier holds.
    """
    arrays = []
    unchanged: list[list[int]] = [[] for _ in rows]
    for place, (column, texts) in enumerate(zip(schema.columns, zip(*rows, strict=True), strict=True)):
        if UNCHANGED in texts:
            for number, text in enumerate(texts):
                if text is UNCHANGED:
                    unchanged[number].append(place + 1)
            texts = tuple(None if text is UNCHANGED else text for text in texts)
        arrays.append(_typed(pa.array(texts, pa.string()), column, kinds.field(place).type, where))
    assert len(ADDED) == 3
    arrays += [
        pa.array([operation for operation, _ in added], pa.string()),
        pa.array([number for _, number in added], pa.int64()),
        pa.array(["{" + ",".join(map(str, places)) + "}" for places in unchanged], pa.string()),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=kinds)


def _typed(texts: pa.Array, column: Column, kind: pa.DataType, where: str) -> pa.Array:
    if column.carrier == "text":
        return _as_cast(texts, column)
    if column.carrier == "string":
        return texts
    if column.carrier == "bool":
        return pc.equal(texts, "t")
    try:
        return texts.cast(kind)
    except pa.ArrowInvalid:
        if column.carrier == "decimal":
            received, allowed = "a number that is not finite", "finite numbers of the declared precision"
        else:
            received, allowed = (
                "a value that is infinite, BC or after the year 9999",
                "0001-01-01 to 9999-12-31",
            )
        raise not_exact(column, where, received, allowed) from None


def _as_cast(texts: pa.Array, column: Column) -> pa.Array:
    """Text as `::text` writes it, which a read of the table asks for, where that is not what the type itself writes: so that
    what stands for a protected value is the same by both ways."""
    kind = column.raw_type
    if kind == "boolean":
        return pc.if_else(pc.equal(texts, "t"), "true", "false")
    if kind == "character" or kind.startswith("character("):
        return pc.ascii_rtrim(texts, characters=" ")
    if kind == "inet":
        lengths = pc.if_else(pc.match_substring(texts, ":"), "/128", "/32")
        return pc.if_else(
            pc.match_substring(texts, "/"), texts, pc.binary_join_element_wise(texts, lengths, "")
        )
    return texts
