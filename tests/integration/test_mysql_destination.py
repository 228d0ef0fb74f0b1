"""What is MySQL's own in delivering to a table: its unique keys, its collations, its types, its limits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from include.activation.destinations import open_destination
from include.activation.destinations.mysql import MysqlTable
from include.activation.records import Difference, Outcome, Record
from tests.support import destinations as kinds
from tests.support.destinations import MysqlTarget, person, record, row
from tests.support.mariadb import MariaDB


@pytest.fixture
def target(mariadb_server: MariaDB) -> Iterator[MysqlTarget]:
    with kinds.mysql(mariadb_server) as made:
        assert isinstance(made, MysqlTarget)
        yield made


def send(target: MysqlTarget, *batch: Record, **changes: Any) -> list[Outcome]:
    with closing(open_destination(target.contract(**changes), target.connection)) as opened:
        return opened.send(batch)


def test_another_unique_column_never_makes_it_overwrite_somebody_elses_row(target: MysqlTarget) -> None:
    """`on duplicate key` is any key. The unique e-mail address stands first, before the key of the sync."""
    target.server.run(
        "alter table crm.contacts drop primary key, add id int auto_increment primary key first,"
        " add unique by_email (email), add unique by_key (external_id)"
    )
    one, two = person("c1"), person("c2")
    assert [outcome.kind for outcome in send(target, record(one), record(two))] == ["delivered"] * 2
    taken = person("c3", email=two["email"], segment="thief")
    moved = person("c1", email=two["email"], segment="thief")
    outcomes = send(target, record(taken), record(moved), record(person("c4")))
    assert [outcome.kind for outcome in outcomes] == ["rejected", "rejected", "delivered"]
    assert "unique" in outcomes[0].reason or "Duplicate" in outcomes[0].reason
    assert not any("example.com" in outcome.reason for outcome in outcomes)
    assert target.held() == {each["external_id"]: row(each) for each in (one, two, person("c4"))}


def test_a_row_that_leaves_makes_room_in_the_same_batch(target: MysqlTarget) -> None:
    target.server.run("alter table crm.contacts add unique by_email (email)")
    send(target, record(person("c1", email="shared@example.com")))
    batch = [record(person("c2", email="shared@example.com")), record(person("c1"), "delete")]
    assert [outcome.kind for outcome in send(target, *batch, mode="mirror")] == ["delivered"] * 2
    assert set(target.held()) == {"c2"}


def test_two_keys_that_the_collation_takes_for_one_are_not_one(target: MysqlTarget) -> None:
    first, second = person("c1"), person("C1", segment="new")
    outcomes = send(target, record(first), record(second), record(person("c2")))
    assert [outcome.kind for outcome in outcomes] == ["delivered", "rejected", "delivered"]
    assert "a key that the database takes for this one" in outcomes[1].reason
    assert target.held()["c1"] == row(first)


VALUES: dict[str, tuple[str, Any, Any]] = {
    "tiny": ("tinyint(1)", True, 1),
    "big": ("bigint", "9223372036854775807", 9223372036854775807),
    "most": ("bigint unsigned", "18446744073709551615", 18446744073709551615),
    "money": ("decimal(65, 30)", "12345678901234567890123456789012345.123456789012345678901234567890", None),
    "cents": ("decimal(10, 2)", "1.005", "1.01"),
    "half": ("float", 0.1, None),
    "whole": ("double", 0.30000000000000004, 0.30000000000000004),
    "words": ("text", True, "true"),
    "latin": ("varchar(20) character set latin1", "Zoë", "Zoë"),
    "padded": ("char(10)", "ab", "ab"),
    "day": ("date", "2024-02-29", None),
    "moment": ("datetime(6)", "2024-03-31T01:59:59.123456+00:00", None),
    "second": ("datetime", "2024-03-31T01:59:59.999999", None),
    "stamp": ("timestamp(3) null", "2024-03-31T01:59:59.123456+00:00", None),
    "hour": ("time(3)", "23:59:59.123", None),
    "raw": ("varbinary(10)", "\\x00ff27", b"\x00\xff'"),
    "fixed": ("binary(4)", "\\x01", b"\x01\0\0\0"),
    "choice": ("enum('a', 'b')", "b", "b"),
    "nested": ("json", {"z": 1.10, "ä": [None, '"\\', 12345678901234567890]}, None),
    "50% of `it`": ("int", 7, 7),
}


def test_its_types_hold_what_was_sent_and_comparing_says_so(target: MysqlTarget) -> None:
    columns = ", ".join(f"`{name.replace('`', '``')}` {kind}" for name, (kind, _, _) in VALUES.items())
    target.server.run(
        f"create table crm.kinds (id int primary key, {columns})",
        f"grant select, insert, update on crm.kinds to {target.writer}@'%'",
    )
    body = {"id": 1} | {name: value for name, (_, value, _) in VALUES.items()}
    # The warehouse writes a number of nested JSON with its digits: they shall come through.
    text = json.dumps(body, ensure_ascii=False).replace('"z": 1.1,', '"z": 1.10,')
    full, empty = Record("1", b"", text), Record("2", b"", json.dumps(dict.fromkeys(body) | {"id": 2}))
    contract = target.contract(
        key="id",
        mapping={name: name for name in body},
        destination={"type": "mysql", "connection": "crm", "table": "crm.kinds", "key": "id"},
    )
    with closing(open_destination(contract, target.connection)) as opened:
        assert isinstance(opened, MysqlTable)
        opened.check()
        assert [outcome.kind for outcome in opened.send([full, empty])] == ["delivered"] * 2
        # What a column rounds or pads when it stores it is no difference.
        assert opened.compare([full, empty, Record("3", b"", json.dumps(body | {"id": 3}))]) == [
            Difference(),
            Difference(),
            Difference(missing=True),
        ]
        for name, (_, _, stored) in VALUES.items():
            column = "`" + name.replace("`", "``") + "`"
            if stored is not None:
                found = target.server.run("set names utf8mb4", f"select {column} from crm.kinds where id = 1")
                assert str(found[0][0]) == str(stored), name
            target.server.run(f"update crm.kinds set {column} = null where id = 1")
            assert opened.compare([full]) == [Difference((name,))], name
            assert [outcome.kind for outcome in opened.send([full])] == ["delivered"]
        nested = target.server.run("set names utf8mb4", "select nested from crm.kinds where id = 1")[0][0]
        assert nested == '{"z": 1.10, "ä": [null, "\\"\\\\", 12345678901234567890]}'


@pytest.mark.parametrize(
    ("column", "kind", "value"),
    [
        ("n", "int", "12x"),
        ("n", "int", "99999999999"),
        ("n", "decimal(4, 2)", "123.45"),
        ("n", "varchar(3)", "wxyz"),
        ("n", "datetime", "infinity"),
        ("n", "datetime", "2024-02-30T00:00:00"),
        ("n", "double", "NaN"),
        ("n", "varchar(3) not null", None),
        ("n", "enum('a')", "b"),
        ("n", "varchar(20) character set latin1", "ключ"),
    ],
)
def test_what_a_type_cannot_hold_is_rejected_without_its_value(
    target: MysqlTarget, column: str, kind: str, value: Any
) -> None:
    target.server.run(
        f"create table crm.strict (id int primary key, {column} {kind})",
        f"grant select, insert, update on crm.strict to {target.writer}@'%'",
    )
    bad = Record("1", b"", json.dumps({"id": 1, column: value}))
    outcomes = send(
        target,
        bad,
        key="id",
        mapping={"id": "id", column: column},
        destination={"type": "mysql", "connection": "crm", "table": "crm.strict", "key": "id"},
    )
    assert [outcome.kind for outcome in outcomes] == ["rejected"]
    assert value is None or str(value) not in outcomes[0].reason
    assert target.server.run("select count(*) from crm.strict") == ((0,),)


def test_more_than_the_server_takes_at_once_goes_in_parts(target: MysqlTarget) -> None:
    target.server.run(
        "alter table crm.contacts modify full_name longtext", "set global max_allowed_packet = 1048576"
    )
    try:
        people = [person(f"c{number}", full_name="x" * 300_000) for number in range(8)]
        people.append(person("c8", full_name="x" * 2_000_000))
        outcomes = send(target, *(record(each) for each in people))
    finally:
        target.server.run("set global max_allowed_packet = 16777216")
    assert [outcome.kind for outcome in outcomes] == ["delivered"] * 8 + ["rejected"]
    assert "max_allowed_packet" in outcomes[8].reason
    assert len(target.held()) == 8
