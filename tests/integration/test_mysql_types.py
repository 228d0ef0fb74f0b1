"""Every type of MariaDB arrives as the same value, or is refused by name before anything lands."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest

from include.core.contracts import SourceContract
from include.core.errors import TypeNotExact
from include.sources import open_source
from tests.support.mariadb import MariaDB
from tests.support.mysql_types import REFUSED_TYPES, REFUSED_VALUES, ROUND_TRIPS
from tests.support.pipeline import Pipeline, contract


def one_table(columns: dict[str, dict[str, Any]]) -> SourceContract:
    stream = {"name": "values", "table": "shop.values", "mode": "snapshot", "primary_key": ["id"]}
    columns = {"id": {"type": "int(11)"}} | columns
    return contract("store", [stream | {"columns": columns}], kind="mysql")


def test_every_type_round_trips(from_maria: Pipeline, maria: MariaDB) -> None:
    names = {kind: f"c{number}" for number, kind in enumerate(ROUND_TRIPS)}
    declared = ", ".join(f"{name} {kind} null default null" for kind, name in names.items())
    maria.run(f"create table shop.`values` (id int primary key, {declared}) row_format = dynamic")
    expected: dict[tuple[int, str], str | None] = {}
    statements = ["set sql_mode = ''"]
    for row in range(max(len(values) for _, values in ROUND_TRIPS.values()) + 1):
        given = {names[k]: values[row] for k, (_, values) in ROUND_TRIPS.items() if row < len(values)}
        expected |= {(row, name): given[name][1] if name in given else None for name in names.values()}
        listed = "".join(f", {name}" for name in given), "".join(f", {value}" for value, _ in given.values())
        statements.append(f"insert into shop.`values` (id{listed[0]}) values ({row}{listed[1]})")
    maria.run("set time_zone = '+00:00'", *statements)
    columns = {
        names[kind]: {"type": kind.split(" character")[0] if "character" in kind else kind}
        for kind in ROUND_TRIPS
    }
    from_maria.pull(one_table(columns))
    types = dict(
        from_maria.at_warehouse(
            "select attname, format_type(atttypid, atttypmod) from pg_attribute"
            " where attrelid = 'raw_store.values'::regclass and attnum > 0"
        )
    )
    assert {kind: types[name] for kind, name in names.items()} == {
        k: raw for k, (raw, _) in ROUND_TRIPS.items()
    }
    for kind, name in names.items():
        for row, text in from_maria.at_warehouse(
            f"select id, {name}::text from raw_store.values order by id"
        ):
            assert text == expected[row, name], f"{kind}, row {row}"


def test_numbers_of_any_bits_round_trip(from_maria: Pipeline, maria: MariaDB) -> None:
    chance = random.Random(5)
    numbers = [struct.unpack("<d", struct.pack("<Q", chance.getrandbits(64)))[0] for _ in range(3000)]
    singles = [struct.unpack("<f", struct.pack("<I", chance.getrandbits(32)))[0] for _ in range(3000)]
    rows = [
        (number, *pair)
        for number, pair in enumerate(zip(numbers, singles, strict=True))
        if all(value == value and abs(value) != float("inf") for value in pair)
    ]
    maria.run("create table shop.`values` (id int primary key, d double, f float)")
    with maria.session() as session, session.cursor() as cursor:
        for number, double, single in rows:
            cursor.execute(
                "insert into shop.`values` values (%s, %s, %s)", (number, repr(double), repr(single))
            )
    from_maria.pull(one_table({"d": {"type": "double"}, "f": {"type": "float"}}))
    assert from_maria.at_warehouse("select id, d, f::float8 from raw_store.values order by id") == rows


@pytest.mark.parametrize("kind", REFUSED_VALUES)
def test_a_value_that_raw_cannot_have_is_refused(from_maria: Pipeline, maria: MariaDB, kind: str) -> None:
    value = REFUSED_VALUES[kind]
    maria.run(
        f"create table shop.`values` (id int primary key, c {kind} null)",
        "set sql_mode = 'allow_invalid_dates'",
        f"insert into shop.`values` values (1, {value})",
    )
    with pytest.raises(TypeNotExact, match="column 'c'") as refused:
        from_maria.pull(one_table({"c": {"type": kind}}))
    assert value.strip("'") not in str(refused.value).replace("such as 0000-00-00", "")
    if "char" in kind:
        return
    from_maria.pull(one_table({"c": {"type": kind, "carry": "text"}}))
    ((text,),) = from_maria.at_warehouse("select c from raw_store.values")
    assert text.removesuffix("+00").removesuffix(".000000") == value.strip("'")


@pytest.mark.parametrize("kind", REFUSED_TYPES)
def test_a_type_that_raw_cannot_have_is_refused(from_maria: Pipeline, maria: MariaDB, kind: str) -> None:
    maria.run(
        f"create table shop.`values` (id int primary key, c {kind})",
        "insert into shop.`values` (id) values (1)",
    )
    with pytest.raises(TypeNotExact, match="column 'c'"):
        from_maria.pull(one_table({"c": {"type": kind}}))
    from_maria.pull(one_table({"c": {"type": kind, "ignore": True}}))
    assert from_maria.at_warehouse("select id from raw_store.values") == [(1,)]


@pytest.mark.parametrize(("charset", "letter"), [("ascii", "80"), ("cp1251", "98"), ("sjis", "8540")])
def test_text_that_unicode_has_no_letter_for_is_refused(maria: MariaDB, charset: str, letter: str) -> None:
    """The server would write a question mark for it."""
    maria.run(
        f"create table shop.`values` (id int primary key, c varchar(9) character set {charset})",
        "set sql_mode = ''",
        f"insert into shop.`values` values (1, x'{letter}')",
    )
    ((stored,),) = maria.run("select hex(c) from shop.`values`")
    assert stored == letter
    source = one_table({"c": {"type": "varchar(9)"}})
    picture = open_source(source, maria.connection()).snapshot(list(source.streams))
    with picture as snapshot, pytest.raises(TypeNotExact, match="Unicode"):
        list(snapshot.rows(source.streams[0]))
