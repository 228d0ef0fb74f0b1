"""What kind of schema change lies between two types of MariaDB or MySQL."""

from __future__ import annotations

import pytest

from include.sources.mysql.widening import type_change

WIDENED = [
    ("tinyint(4)", "smallint(6)"),
    ("int(11)", "bigint(20)"),
    ("int(10) unsigned", "bigint(20)"),
    ("int(10) unsigned", "bigint(20) unsigned"),
    ("int(11)", "decimal(10,0)"),
    ("int(11)", "decimal(12,2)"),
    ("bigint(20) unsigned", "decimal(20,0)"),
    ("decimal(10,2)", "decimal(12,2)"),
    ("decimal(10,2)", "decimal(12,4)"),
    ("decimal(10,2) unsigned", "decimal(10,2)"),
    ("float", "double"),
    ("datetime", "datetime(6)"),
    ("timestamp(3)", "timestamp(6)"),
    ("time", "time(2)"),
    ("char(9)", "char(12)"),
    ("char(9)", "varchar(9)"),
    ("varchar(40)", "varchar(80)"),
    ("varchar(40)", "tinytext"),
    ("varchar(400)", "text"),
    ("tinytext", "longtext"),
    ("binary(16)", "varbinary(16)"),
    ("varbinary(255)", "tinyblob"),
    ("blob", "mediumblob"),
    ("enum('new','paid')", "enum('new','paid','it''s, sent')"),
    ("enum('new','paid')", "enum('sent','paid','new')"),
    ("set('a')", "set('a','b')"),
]
RETYPED = [
    ("int(11)", "int(10) unsigned"),
    ("int(11)", "decimal(9,0)"),
    ("smallint(5) unsigned", "decimal(5,0)"),  # raw has ten digits for it
    ("int(11)", "varchar(11)"),
    ("int(11)", "double"),
    ("decimal(10,2)", "decimal(10,4)"),
    ("decimal(12,4)", "decimal(12,2)"),
    ("decimal(12,2)", "int(11)"),
    ("double", "decimal(30,10)"),
    ("datetime", "timestamp"),
    ("date", "datetime"),
    ("varchar(9)", "char(12)"),  # it would lose blanks at the end
    ("varchar(64)", "tinytext NOT A TYPE"),
    ("tinytext", "blob"),
    ("binary(4)", "binary(8)"),  # it gets zeros at the end
    ("bit(3)", "bit(8)"),
    ("enum('a','b')", "enum('b','c')"),
    ("enum('a')", "set('a')"),
    ("json", "longtext"),
    ("year(4)", "int(11)"),
    ("float", "double(5,2)"),
    ("float", "double unsigned"),
]
SAME = [
    ("int(11)", "int(11)"),
    ("int(11)", "int"),  # how wide it is shown says nothing of what it holds
    ("int(5) unsigned", "int(10) unsigned zerofill"),
    ("enum('a','b')", "enum('b','a')"),
    ("bit(3)", "bit(3)"),
    ("uuid", "uuid"),
    ("varchar(1000) /*M!100301 COMPRESSED*/", "varchar(1000) /*M!100301 COMPRESSED*/"),
]


@pytest.mark.parametrize(("old", "new"), WIDENED)
def test_a_type_that_holds_all_that_the_other_does_is_wider(old: str, new: str) -> None:
    assert type_change(old, new) == "widened"


@pytest.mark.parametrize(("old", "new"), RETYPED)
def test_a_type_that_does_not_is_another(old: str, new: str) -> None:
    assert type_change(old, new) == "retyped"


@pytest.mark.parametrize(("old", "new"), SAME)
def test_what_holds_the_same_values_is_no_change(old: str, new: str) -> None:
    assert type_change(old, new) == type_change(new, old) == ""


@pytest.mark.parametrize(("new", "old"), [pair for pair in WIDENED if "decimal(12," not in pair[1]])
def test_the_way_back_is_narrower(old: str, new: str) -> None:
    assert type_change(old, new) == "narrowed"
