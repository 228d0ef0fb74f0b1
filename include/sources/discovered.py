"""What a look into a source's catalog found, in words that every kind of system shares."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FoundColumn:
    """One column.

    :param family: bool, number, string, date, timestamp, timestamptz, network or other.
    :param refused: why it cannot be carried; empty when it can.
    :param looks_like: what kind of personal data a sample of its values looks like.
    :param beyond: a sample has values that its carrier would change (infinity, BC, NaN).
    :param stamped_by: what sets it at every change: a trigger, or its own clause.
    """

    name: str
    type: str
    family: str
    not_null: bool
    values: tuple[str, ...] = ()
    refused: str = ""
    looks_like: str = ""
    beyond: bool = False
    indexed: bool = False
    stamped_by: str = ""
    comment: str = ""


@dataclass(frozen=True)
class FoundReference:
    """A foreign key: these columns point to those of a table (its name quoted for SQL)."""

    columns: tuple[str, ...]
    table: str
    to_columns: tuple[str, ...]


@dataclass(frozen=True)
class FoundTable:
    """One table that can be read. Numbers are the server's estimates; -1 when it has none.

    `inherited` says that other tables inherit from it, so that its key is not unique over all that is read. `by_xmin` says
    that its rows tell which transaction wrote them.
    """

    schema: str
    name: str
    quoted: str
    columns: tuple[FoundColumn, ...]
    primary_key: tuple[str, ...] = ()
    references: tuple[FoundReference, ...] = ()
    rows: int = -1
    bytes: int = 0
    updates: int = -1
    deletes: int = -1
    inherited: bool = False
    by_xmin: bool = False
    comment: str = ""


@dataclass(frozen=True)
class Skipped:
    """Something that is not read, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Found:
    """A whole source of one `kind`. `no_incremental` says why changes cannot be read by cursor, empty when they can."""

    database: str
    role: str
    owner: str
    tables: tuple[FoundTable, ...]
    skipped: tuple[Skipped, ...] = ()
    no_incremental: str = ""
    remedy: str = ""
    kind: str = "postgres"
