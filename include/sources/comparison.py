"""A table's columns and key beside its contract: the same question for every kind of system."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from include.core.changes import Change, Found, Known, TypeChange, compare, type_change
from include.core.contracts.source import SourceContract, Stream
from include.core.errors import ContractError
from include.core.schema import Column, StreamSchema


class InCatalog(Protocol):
    """A column as a catalog describes it. `number` outlives a rename; 0 where the system has no such thing."""

    @property
    def column(self) -> str: ...
    @property
    def declared(self) -> str: ...
    @property
    def number(self) -> int: ...


C = TypeVar("C", bound=InCatalog)


def shape(
    contract: SourceContract,
    stream: Stream,
    found: Sequence[C],
    key: tuple[str, ...],
    before: Known,
    carried: Callable[[C, str, bool], Column],
    table: int = 0,
    type_change: TypeChange = type_change,
) -> tuple[StreamSchema | None, tuple[Change, ...]]:
    """How a stream's table differs from its contract, and its columns as they will be read; None when that must not be.

    :param found: the columns in the table's order. :param key: its primary key, empty when it has none.
    :param before: what is known from the loads before.
    :param carried: how a column travels, given it, where that is for a message, and whether it has to be as text.
    :param table: identifies the table where numbers of columns do. :param type_change: see `compare`.
    :raises TypeNotExact: of a column that cannot be carried exactly. :raises ContractError: the cursor is no time.
    """
    where = f"source {contract.source!r}, stream {stream.name!r}"
    known = [Found(column.column, column.declared, column.number) for column in found]
    differs = compare(contract, stream, known, key, before, table, type_change)
    if any(change.answer == "freeze" for change in differs.changes):
        return None, differs.changes
    columns: list[Column] = []
    for column in found:
        if column.column in differs.names:
            name = differs.names[column.column]
            rule = stream.columns.get(name)
            as_text = bool(rule and (rule.carry or rule.protect))
            columns.append(replace(carried(column, where, as_text), name=name))
            if name != column.column:
                columns[-1] = replace(columns[-1], source_name=column.column)
    schema = StreamSchema(tuple(columns), stream.primary_key, table)
    if stream.stamp and schema.column(stream.stamp).carrier not in ("timestamp", "timestamptz"):
        raise ContractError(
            f"cursor {stream.stamp!r} is no time",
            where=where,
            received=schema.column(stream.stamp).source_type,
            allowed="a time with its zone, or one without (read as UTC), carried as what it is",
            todo="choose another cursor, or mode: snapshot",
        )
    return schema, differs.changes
