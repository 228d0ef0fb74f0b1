"""What the log says, message by message, and which transactions a snapshot sees."""

from __future__ import annotations

import struct

import pytest

from include.core.errors import TerminalError
from include.sources.postgres.log.open import end_of_records
from include.sources.postgres.log.pgoutput import (
    UNCHANGED,
    Begin,
    Change,
    Commit,
    Relation,
    Truncate,
    decode,
)
from include.sources.postgres.log.seen import Seen


def row(*values: str | object | None) -> bytes:
    body = struct.pack("!h", len(values))
    for value in values:
        if isinstance(value, str):
            body += b"t" + struct.pack("!i", len(value.encode())) + value.encode()
        else:
            body += b"n" if value is None else b"u"
    return body


def test_messages() -> None:
    oid = 4_000_000_000
    told = struct.pack("!I", oid)
    relation = b"R" + told + b"public\0a table\0d" + struct.pack("!h", 2)
    relation += (
        b"\1id\0" + struct.pack("!Ii", 23, -1) + b"\0" + "Größe\0".encode() + struct.pack("!Ii", 1700, 786438)
    )
    assert decode(relation) == Relation(oid, "a table", (("id", 23, -1), ("Größe", 1700, 786438)))
    assert decode(b"B" + struct.pack("!qqI", 77, 1, 4_294_967_295)) == Begin(77, 4_294_967_295)
    assert decode(b"C" + struct.pack("!Bqqq", 0, 77, 88, 1)) == Commit()
    assert decode(b"I" + told + b"N" + row("1", "ü")) == Change("I", oid, None, ["1", "ü"])
    assert decode(b"U" + told + b"N" + row("1", UNCHANGED)) == Change("U", oid, None, ["1", UNCHANGED])
    with_key = b"U" + told + b"K" + row("1", None) + b"N" + row("2", "")
    assert decode(with_key) == Change("U", oid, ["1", None], ["2", ""])
    assert decode(b"D" + told + b"O" + row("1", "x")) == Change("D", oid, ["1", "x"], None)
    assert decode(b"T" + struct.pack("!iBII", 2, 1, 7, oid)) == Truncate((7, oid))
    assert decode(b"Y" + told + b"public\0mood\0") is None
    assert decode(b"O" + struct.pack("!q", 1) + b"elsewhere\0") is None


@pytest.mark.parametrize("data", [b"S\0\0\0\1\1", b"M\0", b"I\0\0\0\1N\0\1b\0\0\0\1x"])
def test_a_message_that_was_not_asked_for_is_refused(data: bytes) -> None:
    with pytest.raises(TerminalError, match="not asked for"):
        decode(data)


def test_what_a_snapshot_sees() -> None:
    seen = Seen.parse("10:20:12,15")
    assert [xid for xid in range(8, 23) if xid in seen] == [8, 9, 10, 11, 13, 14, 16, 17, 18, 19]
    assert [xid for xid in range(28, 33) if xid in Seen.parse("30:30:")] == [28, 29]


def test_a_position_behind_the_head_of_a_page_is_the_end_of_the_page_before() -> None:
    page, file = 8192, 16 << 20
    for given, end in (
        (3 * file + 40, 3 * file),
        (3 * file + 48, 3 * file + 48),
        (5 * page + 24, 5 * page),
        (5 * page + 32, 5 * page + 32),  # the tail of a record that began on the page before
        (5 * page + 40, 5 * page + 40),
        (5 * page - 8, 5 * page - 8),
    ):
        assert end_of_records(given, page, file) == end


def test_numbers_of_32_bits_are_those_nearest_to_the_snapshot() -> None:
    round_ = 1 << 32
    for newest in (800, round_ - 5, round_ + 5, 7 * round_ + (1 << 31)):
        seen = Seen(newest, newest, frozenset())
        for distance in (0, 1, -1, 300, -300, (1 << 31) - 1, -(1 << 31)):
            if newest + distance >= 0:
                assert seen.full((newest + distance) & (round_ - 1)) == newest + distance
