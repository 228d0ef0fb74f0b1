"""The shape of a stream, and how each of its values travels from source to raw without being changed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

_ALWAYS = ("name", "source_type", "raw_type", "carrier", "nullable")


@dataclass(frozen=True)
class Column:
    """One column: its type in the source, its type in raw, and its carrier in between.

    `protection` says what stands for its values where they do not land as they are, and under which key; else it is empty.
    A carrier is how a value travels through the landing zone: `text` is the source's own exact text form, which the
    warehouse's input function reads back; bool, int, float, decimal, date, timestamp, timestamptz and string are the Parquet
    type of the same meaning. `source_name` is what the source calls it where that is another name, `number` what it is
    called by there whatever its name is; neither is part of its shape.
    """

    name: str
    source_type: str
    raw_type: str
    carrier: str
    nullable: bool = True
    protection: str = ""
    source_name: str = field(default="", compare=False)
    number: int = field(default=0, compare=False)

    @property
    def name_in_source(self) -> str:
        return self.source_name or self.name


@dataclass(frozen=True)
class StreamSchema:
    """All columns of a stream in the source's order, and its primary key (may be empty).

    `table` identifies the table in the source, so that numbers of columns of two loads can be compared; 0: nothing does.
    """

    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    table: int = field(default=0, compare=False)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    def only(self, names: tuple[str, ...]) -> StreamSchema:
        """The same stream with only these columns."""
        return StreamSchema(tuple(self.column(name) for name in names), self.primary_key, self.table)

    @cached_property
    def fingerprint(self) -> str:
        """Equal for equal shapes: names, types, order, nullability and key; 16 hex digits."""
        shape = self.to_json()
        shape.pop("table", None)
        for column in shape["columns"]:
            column.pop("source_name", None)
            column.pop("number", None)
        return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        # What says nothing is not written, so that shapes from before there was such a thing keep their fingerprints.
        columns = [
            {name: value for name, value in vars(column).items() if name in _ALWAYS or value}
            for column in self.columns
        ]
        known = {"table": self.table} if self.table else {}
        return {"columns": columns, "primary_key": list(self.primary_key)} | known

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> StreamSchema:
        columns = tuple(Column(**column) for column in data["columns"])
        return cls(columns, tuple(data["primary_key"]), data.get("table", 0))
