"""From what the driver hands out to what the landing zone keeps, checking that no value is changed on the way."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from include.core.errors import TypeNotExact
from include.core.schema import Column, StreamSchema

# Days, and microseconds, since 1970. Numbers, because pyarrow loads pandas before it makes a value of a Python object.
_DAYS = tuple((day - date(1970, 1, 1)).days for day in (date.min, date.max))
_MICROSECONDS = tuple(
    (time - datetime(1970, 1, 1)) // timedelta(microseconds=1) for time in (datetime.min, datetime.max)
)


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
        _check_range(array, column, where)
    if isinstance(array, pa.ExtensionArray):
        array = array.storage  # JSON is text of its own
    return array.cast(kind)


def _check_range(array: pa.Array, column: Column, where: str) -> None:
    # Infinite values wrap around in the driver to the far end of the type, so they fall outside this range too.
    first, last = _DAYS if column.carrier == "date" else _MICROSECONDS
    low, high = pc.min_max(array).values()
    if low.is_valid and (low.value < first or high.value > last):
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
