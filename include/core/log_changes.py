"""Changes of rows, as a source's log tells them: what lands beside a stream's columns, so that a row of a part is a change.

| `_op` | the row's columns hold |
|---|---|
| `i` insert | the new row |
| `u` update | the new row; what `_unchanged` names was not in the log, and is as before |
| `d` delete | the key of the row that is gone, all else null |
| `m` move | the new row under a new key; the `d` just before it has the key that it had |
| `t` truncate | nothing: all rows of the table are gone |

`_seq` orders the changes of a load over all its streams. `_unchanged` has places of columns, counted from 1.
"""

from __future__ import annotations

from dataclasses import replace

from include.core.schema import Column, StreamSchema

INSERT, UPDATE, DELETE, MOVE, TRUNCATE = "i", "u", "d", "m", "t"
ADDED = (
    Column("_op", "text", "text", "string"),
    Column("_seq", "bigint", "bigint", "int"),
    Column("_unchanged", "smallint[]", "smallint[]", "text"),
)


def of_changes(shape: StreamSchema) -> StreamSchema:
    """The shape of a stream's changes. No column is sure to have a value: a delete has only a key."""
    columns = tuple(replace(column, nullable=True) for column in shape.columns)
    return StreamSchema((*columns, *ADDED), shape.primary_key)
