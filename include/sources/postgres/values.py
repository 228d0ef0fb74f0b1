"""From what the driver hands out to what the landing zone keeps, checking that no value is changed on the way."""

from __future__ import annotations

from datetime import date, datetime, timezone

import pyarrow as pa
import pyarrow.compute as pc

from include.core.errors import TypeNotExact
from include.core.schema import Column, StreamSchema

_DATES = (date(1, 1, 1), date(9999, 12, 31))
_TIMES = (datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999))


def exact(batch: pa.RecordBatch, schema: StreamSchema, target: pa.Schema, where: str) -> pa.RecordBatch:
    """The batch in the landing zone's types.

    :raises TypeNotExact: a value lies outside what its carrier holds; names the column and the remedy.
    """
    arrays = [
        _exact_array(batch.column(place), column, target.field(place).type, where)
        for place, column in enumerate(schema.columns)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=target)


def _exact_array(array: pa.Array, column: Column, kind: pa.DataType, where: str) -> pa.Array:
    if column.carrier == "decimal":
        try:
            return array.cast(kind)
        except pa.ArrowInvalid:
            received = "a number that is not finite or has more digits"  # Arrow's own words quote it
            raise not_exact(column, where, received, "finite numbers of the declared precision") from None
    if column.carrier in ("date", "timestamp", "timestamptz"):
        _check_range(array, column, kind, where)
    if isinstance(array, pa.ExtensionArray):
        array = array.storage  # JSON is text of its own
    return array.cast(kind)


def _check_range(array: pa.Array, column: Column, kind: pa.DataType, where: str) -> None:
    # Infinite values wrap around in the driver to the far end of the type, so they fall outside this range too.
    first, last = _DATES if column.carrier == "date" else _TIMES
    if column.carrier == "timestamptz":
        first, last = (moment.replace(tzinfo=timezone.utc) for moment in _TIMES)
    low, high = pc.min_max(array).values()
    lowest, highest = pa.scalar(first, kind), pa.scalar(last, kind)
    if low.is_valid and (pc.less(low, lowest).as_py() or pc.greater(high, highest).as_py()):
        raise not_exact(
            column, where, "a value that is infinite, BC or after the year 9999", "0001-01-01 to 9999-12-31"
        )


def not_exact(column: Column, where: str, received: str, allowed: str) -> TypeNotExact:
    """The error for a value that does not fit its carrier."""
    return TypeNotExact(
        f"column {column.name!r} ({column.source_type}) holds a value that its carrier would change; nothing was landed",
        where=where,
        received=received,
        allowed=allowed,
        todo=f"set `carry: text` for column {column.name!r} in the contract",
    )
