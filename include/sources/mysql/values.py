"""From the lines that the server writes to what the landing zone keeps, checking that no value is changed on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from include.core.errors import TypeNotExact
from include.core.schema import Column, StreamSchema

#: A batch ends after so many bytes of lines, or so many rows.
BATCH_BYTES, BATCH_ROWS = 8 << 20, 1 << 16
# MariaDB counts years from 0, PostgreSQL from 1; 0000-00-00 is no date at all.
_FIRST = {"date": date(1, 1, 1), "timestamp": datetime(1, 1, 1), "timestamptz": datetime(1, 1, 1)}
_NAIVE = pa.timestamp("us")


def batches(
    lines: Iterable[tuple[bytes | None]], schema: StreamSchema, target: pa.Schema, where: str
) -> Iterator[pa.RecordBatch]:
    """Record batches of bounded size from rows of one line each.

    :param target: the Parquet types. :raises TypeNotExact: a value cannot be carried; names the column and the remedy.
    """
    gathered: list[bytes] = []
    size = 0
    for (line,) in lines:
        if line is None:
            raise TypeNotExact(
                "a row cannot be written as text; nothing was landed",
                where=where,
                received="text that its character set or Unicode has no letters for, or a row longer than the server sends",
                allowed="text that comes back the same from Unicode; rows shorter than the server's max_allowed_packet",
                todo="correct the row, set `ignore: true` for the column, or raise max_allowed_packet at the server",
            )
        gathered.append(line)
        size += len(line)
        if size >= BATCH_BYTES or len(gathered) >= BATCH_ROWS:
            yield _batch(gathered, schema, target, where)
            gathered, size = [], 0
    if gathered:
        yield _batch(gathered, schema, target, where)


def _batch(lines: list[bytes], schema: StreamSchema, target: pa.Schema, where: str) -> pa.RecordBatch:
    text = b"\n".join(lines) + b"\n"
    names = [str(place) for place in range(len(schema.columns))]
    try:
        table = csv.read_csv(
            pa.BufferReader(text),
            read_options=csv.ReadOptions(use_threads=False, block_size=len(text) + 1, column_names=names),
            parse_options=csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid:  # its words quote the row
        raise TypeNotExact(
            "a row is no text in UTF-8; nothing was landed",
            where=where,
            todo="correct the row, or `ignore: true` for the column",
        ) from None
    if table.num_rows != len(lines):
        raise TypeNotExact(
            "a row cannot be told from the next", where=where, received=table.num_rows, allowed=len(lines)
        )
    empty = b"\0" in text
    arrays = [
        _exact(array.combine_chunks(), column, target.field(place).type, where, empty)
        for place, (array, column) in enumerate(zip(table.columns, schema.columns, strict=True))
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=target)


def _exact(array: pa.Array, column: Column, kind: pa.DataType, where: str, empty: bool) -> pa.Array:
    if column.carrier in ("string", "text"):
        if empty and pc.any(pc.match_substring(array, "\0")).as_py():
            raise _not_exact(
                column,
                where,
                "text with a zero byte",
                "text without: PostgreSQL has none that holds it",
                f"correct the rows, or set `ignore: true` for column {column.name!r} in the contract",
            )
        return array
    first = _FIRST.get(column.carrier)
    try:
        values = array.cast(_NAIVE if column.carrier == "timestamptz" else kind)
        if first is not None:
            low = pc.min(values)
            if low.is_valid and low.as_py() < first:
                raise pa.ArrowInvalid
    except (pa.ArrowInvalid, ValueError, OverflowError):  # Arrow's own words quote the value
        raise _not_exact(
            column,
            where,
            "a value that is no such one in the warehouse, such as 0000-00-00",
            "0001-01-01 to 9999-12-31" if first else "what the declared type says",
            f"set `carry: text` for column {column.name!r} in the contract",
        ) from None
    return pc.assume_timezone(values, "UTC") if column.carrier == "timestamptz" else values


def _not_exact(column: Column, where: str, received: str, allowed: str, todo: str) -> TypeNotExact:
    return TypeNotExact(
        f"column {column.name!r} ({column.source_type}) holds a value that its carrier would change; nothing was landed",
        where=where,
        received=received,
        allowed=allowed,
        todo=todo,
    )
