"""The Parquet type of each carrier: what a value travels as, whatever system it comes from."""

from __future__ import annotations

import pyarrow as pa

from include.core.schema import Column, StreamSchema

_ARROW = {
    "bool": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
    "string": pa.string(),
    "text": pa.string(),
}
_WIDTH = {"smallint": pa.int16(), "integer": pa.int32(), "bigint": pa.int64(), "real": pa.float32()}


def arrow_schema(schema: StreamSchema) -> pa.Schema:
    """The Parquet types of a stream; the source's type stands in each field's metadata."""
    return pa.schema(
        [
            pa.field(column.name, _arrow_type(column), metadata={"source_type": column.source_type})
            for column in schema.columns
        ]
    )


def _arrow_type(column: Column) -> pa.DataType:
    if column.carrier == "decimal":
        precision, scale = column.raw_type.removeprefix("numeric(").rstrip(")").split(",")
        return pa.decimal128(int(precision), int(scale))
    if column.carrier in ("int", "float"):
        return _WIDTH.get(column.raw_type, pa.float64())
    return _ARROW[column.carrier]
