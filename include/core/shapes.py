"""How the shape of a stream changed from one load to a later one."""

from __future__ import annotations

from dataclasses import replace

from include.core.schema import Column, StreamSchema
from include.core.widening import settle


def differences(before: StreamSchema, after: StreamSchema) -> tuple[str, ...]:
    """What changed between two shapes, in words: `+` a new column, `-` one that is gone, `~` anything else."""
    old, new = ({column.name: column for column in shape.columns} for shape in (before, after))
    lines = [f"+ {_column(new[name])}" for name in after.names if name not in old]
    lines += [f"- {_column(old[name])}" for name in before.names if name not in new]
    for name in before.names:
        if name in new and old[name] != new[name]:
            lines.append(f"~ {_column(old[name])} → {_column(new[name])}")
    if before.primary_key != after.primary_key:
        lines.append(f"~ primary key ({_key(before)}) → ({_key(after)})")
    both = [name for name in before.names if name in new]
    if both != [name for name in after.names if name in old]:
        lines.append("~ order of columns")
    return tuple(lines)


def goes_on(shape: StreamSchema, types: dict[str, tuple[str, str]], key: tuple[str, ...]) -> bool:
    """Whether rows of this shape can be merged into a table of this primary key, in whatever order, whose columns have these
    types in raw and protections; columns that only one of them has do no harm."""
    return set(shape.primary_key) == set(key) and all(
        column.name not in types or _fits(column, *types[column.name]) for column in shape.columns
    )


def merged_types(types: dict[str, tuple[str, str]], shape: StreamSchema) -> dict[str, tuple[str, str]]:
    """The types and protections that the columns of a table have once rows of this shape, which fit, were merged into it."""
    held = {column.name: types.get(column.name, (column.raw_type,))[0] for column in shape.columns}
    return types | {
        column.name: (settle(held[column.name], column.raw_type) or column.raw_type, column.protection)
        for column in shape.columns
    }


def together(shapes: tuple[StreamSchema, ...]) -> StreamSchema:
    """The shape of a table that loads of these shapes were merged into, in their order: every column that one of them had,
    in the type that holds all its values."""
    types: dict[str, tuple[str, str]] = {}
    columns: dict[str, Column] = {}
    for shape in shapes:
        types = merged_types(types, shape)
        columns |= {column.name: column for column in shape.columns}
    settled = tuple(replace(column, raw_type=types[name][0]) for name, column in columns.items())
    return replace(shapes[-1], columns=settled)


def _fits(column: Column, held: str, protection: str) -> bool:
    # Values from before a protection would bring back what it keeps out, and keys from before would never be found again.
    return column.protection == protection and settle(held, column.raw_type) is not None


def _column(column: Column) -> str:
    text = f"{column.name} {column.source_type}"
    if column.raw_type != column.source_type:
        text += f" (in raw: {column.raw_type})"
    if column.protection:
        text += f", protected: {column.protection}"
    if column.carrier == "text":
        text += ", carried as text"
    return text + ("" if column.nullable else ", not null")


def _key(shape: StreamSchema) -> str:
    return ", ".join(shape.primary_key)
