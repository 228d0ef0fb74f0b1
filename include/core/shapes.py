"""How the shape of a stream changed from one load to a later one."""

from __future__ import annotations

from include.core.schema import Column, StreamSchema


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
    """Whether rows of this shape fit into a table of this primary key, in whatever order, whose columns have these types in
    raw and protections; columns that only one of them has do no harm."""
    return set(shape.primary_key) == set(key) and all(
        types.get(column.name, carried(column)) == carried(column) for column in shape.columns
    )


def carried(column: Column) -> tuple[str, str]:
    """What has to be the same for rows of two loads to stand in one table. Values from before a protection would bring back
    what it keeps out, and keys from before would never be found again."""
    return column.raw_type, column.protection


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
