"""The messages of PostgreSQL's logical replication, protocol version 1, as pgoutput writes them into the rows of
`pg_logical_slot_peek_binary_changes`.

https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, Literal

from include.core.errors import TerminalError


class Unchanged:
    """What stands for a value that the log does not repeat: it was stored out of line (TOAST) and did not change."""

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = Unchanged()
#: One value in the server's own text form; None is null.
Value = str | None | Unchanged
Row = list[Value]


@dataclass(frozen=True)
class Begin:
    """A transaction begins: where its commit stands in the log, and its number of 32 bits."""

    commit: int
    xid: int


@dataclass(frozen=True)
class Commit:
    """Its end."""


@dataclass(frozen=True)
class Relation:
    """A table, told before its first change. `columns` are name, type and type modifier."""

    oid: int
    name: str
    columns: tuple[tuple[str, int, int], ...]


@dataclass
class Change:
    """A row that was inserted, updated or deleted.

    `old` is its identity (K: the columns of the replica identity, all others null) or the whole row (O) before an update or
    delete; None where an update left the identity as it was.
    """

    kind: Literal["I", "U", "D"]
    oid: int
    old: Row | None
    new: Row | None


@dataclass(frozen=True)
class Truncate:
    """Tables that lost all their rows."""

    oids: tuple[int, ...]


Message = Begin | Commit | Relation | Change | Truncate | None

_BEGIN = struct.Struct("!qqi")
_INT16 = struct.Struct("!h")
_INT32 = struct.Struct("!i")
_OID = struct.Struct("!I")
_COLUMN_TAIL = struct.Struct("!Ii")


def decode(data: bytes) -> Message:
    """One message; None for those that say nothing about rows (type, origin).

    :raises TerminalError: a kind of message that was not asked for.
    """
    kind = data[0:1]
    if kind in (b"I", b"U", b"D"):
        return _change(data)
    if kind == b"B":
        commit, _, xid = _BEGIN.unpack_from(data, 1)
        return Begin(commit, xid & 0xFFFFFFFF)
    if kind == b"C":
        return Commit()
    if kind == b"R":
        return _relation(data)
    if kind == b"T":
        (count,) = _INT32.unpack_from(data, 1)
        return Truncate(struct.unpack_from(f"!{count}I", data, 6))
    if kind in (b"Y", b"O"):
        return None
    raise TerminalError(
        "the log holds a message that was not asked for",
        received=f"kind {kind!r}",
        allowed="begin, commit, relation, type, origin, insert, update, delete, truncate (protocol version 1)",
        todo="report this together with the server's version",
    )


def _relation(data: bytes) -> Relation:
    (oid,) = _OID.unpack_from(data, 1)
    _schema, at = _text(data, 5)
    name, at = _text(data, at)
    (count,) = _INT16.unpack_from(data, at + 1)  # after the replica identity
    at += 3
    columns = []
    for _ in range(count):
        column, at = _text(data, at + 1)  # after the flags
        columns.append((column, *_COLUMN_TAIL.unpack_from(data, at)))
        at += _COLUMN_TAIL.size
    return Relation(oid, name, tuple(columns))


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(b"\0", at)
    return data[at:end].decode(), end + 1


def _change(data: bytes) -> Change:
    (oid,) = _OID.unpack_from(data, 1)
    kind: Literal["I", "U", "D"] = "I" if data[0] == 73 else "U" if data[0] == 85 else "D"
    old, new, at = None, None, 5
    if data[at] != 78:  # K or O
        old, at = _row(data, at + 1)
    if kind != "D":
        new, at = _row(data, at + 1)
    return Change(kind, oid, old, new)


def _row(data: bytes, at: int) -> tuple[Row, int]:
    (count,) = _INT16.unpack_from(data, at)
    at += 2
    row: Row = []
    for _ in range(count):
        kind = data[at]
        at += 1
        if kind == 116:  # t: text
            (length,) = _INT32.unpack_from(data, at)
            at += 4 + length
            row.append(data[at - length : at].decode())
        elif kind == 110:  # n: null
            row.append(None)
        elif kind == 117:  # u: unchanged
            row.append(UNCHANGED)
        else:
            raise TerminalError("the log holds a value in a form that was not asked for", received=chr(kind))
    return row, at
