"""Arrow batches in the two forms in which COPY takes them.

Binary costs the server less than half of what text does, and us a quarter; but there each type has a form of its own
(https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS), and most of what travels as the source's text
has none that could be computed from it. So a stream whose columns all have a binary form goes in binary, and any other
one as CSV, which the warehouse's input functions read whatever the type (docs/decisions/0022-speed.md).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from pgpq import ArrowToPostgresBinaryEncoder
from pgpq.encoders import StringEncoderBuilder
from pgpq.schema import Jsonb

from include.core.errors import TerminalError
from include.core.schema import Column, StreamSchema

_CSV = pyarrow.csv.WriteOptions(include_header=False)
_ZONED, _LOCAL = pa.timestamp("us", "UTC"), pa.timestamp("us")
#: Types of raw whose binary form is that of an Arrow type. Precision and length do not matter: the server checks them.
_BINARY = {
    "boolean": pa.bool_(),
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "real": pa.float32(),
    "double precision": pa.float64(),
    "date": pa.date32(),
    "timestamp without time zone": _LOCAL,
    "timestamp with time zone": _ZONED,
    "text": pa.string(),
    "character varying": pa.string(),
    "character": pa.string(),
    "json": pa.string(),
    "jsonb": pa.string(),
    "uuid": pa.string(),
}
# Where the digits stand in a uuid as PostgreSQL writes it, and what each is worth.
_DIGITS = [place for place in range(36) if place not in (8, 13, 18, 23)]
_WORTH = np.full(256, 16, np.uint8)
for _digits in (b"0123456789abcdef", b"0123456789ABCDEF"):
    _WORTH[np.frombuffer(_digits, np.uint8)] = np.arange(16)


def copied(
    schema: StreamSchema, batches: Iterable[pa.RecordBatch]
) -> tuple[str, Iterator[bytes | memoryview]]:
    """COPY's format, and the batches in it, block by block.

    :param batches: all of one schema: a column each of the stream's, in its order.
    """
    batches = iter(batches)
    first = next(batches, None)
    if first is None:
        return "csv", iter(())
    rows = chain((first,), batches)
    if all(map(_has_binary_form, schema.columns, first.schema)):
        return "binary", _binary(schema, first.schema, rows)
    return "csv", map(_csv, rows)


def ahead(blocks: Iterator[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """The same, each made in another thread while the one before is sent."""
    with ThreadPoolExecutor(1, "encode") as encoder:
        pending = encoder.submit(next, blocks, None)
        while (block := pending.result()) is not None:
            pending = encoder.submit(next, blocks, None)
            yield block


def _has_binary_form(column: Column, field: pa.Field) -> bool:
    if pa.types.is_decimal128(field.type):
        return column.raw_type == f"numeric({field.type.precision},{field.type.scale})"
    return bool(_BINARY.get(re.sub(r"\(\d+\)", "", column.raw_type)) == field.type)


def _binary(
    schema: StreamSchema, given: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> Iterator[bytes | memoryview]:
    # By their place: the encoder knows columns by name.
    fields = [
        pa.field(str(place), pa.binary(16) if column.raw_type == "uuid" else field.type)
        for place, (column, field) in enumerate(zip(schema.columns, given, strict=True))
    ]
    encoders = {
        field.name: _encoder(column, field) for column, field in zip(schema.columns, fields, strict=True)
    }
    target = pa.schema(fields)
    encoder = ArrowToPostgresBinaryEncoder.new_with_encoders(target, encoders)
    yield encoder.write_header()
    for batch in batches:
        arrays = [
            _uuids(array) if column.raw_type == "uuid" else array
            for column, array in zip(schema.columns, batch.columns, strict=True)
        ]
        yield encoder.write_batch(pa.RecordBatch.from_arrays(arrays, schema=target))
    yield encoder.finish()


def _encoder(column: Column, field: pa.Field) -> Any:
    if column.raw_type == "jsonb":
        return StringEncoderBuilder.new_with_output(field, Jsonb())
    return ArrowToPostgresBinaryEncoder.infer_encoder(field)


def _uuids(array: pa.StringArray) -> pa.Array:
    """Their 16 bytes, from the text that PostgreSQL writes: 32 hexadecimal digits and four hyphens.

    :raises TerminalError: one is written in another way.
    """
    texts = array.drop_null()
    _, offsets, data = texts.buffers()
    if len(texts) == 0:
        return pa.nulls(len(array), pa.binary(16))
    ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    plain = bool((np.diff(ends) == 36).all())
    digits = (
        _WORTH[np.frombuffer(data, np.uint8)[ends[0] : ends[-1]].reshape(-1, 36)[:, _DIGITS]]
        if plain
        else _WORTH
    )
    if digits.max() > 15:
        raise TerminalError(
            "a uuid in the landing zone is not written as PostgreSQL writes it",
            allowed="8-4-4-4-12 hexadecimal digits",
            todo="read the column as text, or extract again",
        )
    numbers = pa.py_buffer(np.ascontiguousarray(digits[:, 0::2] << 4 | digits[:, 1::2]))
    found = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(texts), [None, numbers])
    if len(texts) == len(array):
        return found
    places = np.cumsum(array.is_valid().to_numpy(zero_copy_only=False)) - 1
    return found.take(pa.array(places, mask=array.is_null().to_numpy(zero_copy_only=False)))


def _csv(batch: pa.RecordBatch) -> memoryview:
    sink = io.BytesIO()
    pyarrow.csv.write_csv(batch, sink, _CSV)
    return sink.getbuffer()
