"""The shape of a stream, and how each of its values travels from source to raw without being changed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

#: How a value travels through the landing zone. `text` is the source's own exact text form, which the warehouse's
#: input function reads back; the others are the Parquet type of the same meaning.
CARRIERS = ("bool", "int", "float", "decimal", "date", "timestamp", "timestamptz", "string", "text")


@dataclass(frozen=True)
class Column:
    """One column: its type in the source, its type in raw, and its carrier in between.

    `protection` says what stands for its values where they do not land as they are, and under which key; else it is empty.
    """

    name: str
    source_type: str
    raw_type: str
    carrier: str
    nullable: bool = True
    protection: str = ""


@dataclass(frozen=True)
class StreamSchema:
    """All columns of a stream in the source's order, and its primary key (may be empty)."""

    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    def only(self, names: tuple[str, ...]) -> StreamSchema:
        """The same stream with only these columns."""
        return StreamSchema(tuple(self.column(name) for name in names), self.primary_key)

    @property
    def fingerprint(self) -> str:
        """Equal for equal shapes: names, types, order, nullability and key; 16 hex digits."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        # What is not protected is written without a word of it, and keeps the fingerprint that raw was loaded with.
        columns = [
            {name: value for name, value in asdict(column).items() if (name, value) != ("protection", "")}
            for column in self.columns
        ]
        return {"columns": columns, "primary_key": list(self.primary_key)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> StreamSchema:
        return cls(tuple(Column(**column) for column in data["columns"]), tuple(data["primary_key"]))
