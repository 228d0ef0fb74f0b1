"""Which kind of change a difference is, and what a contract answers to it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import yaml

from include.core.changes import NOTHING_KNOWN, Found, Known, compare, correction, refuse
from include.core.contracts import SourceContract
from include.core.contracts.faults import FaultyContract
from include.core.errors import SchemaChanged
from include.core.manifest import Manifest, StreamManifest
from include.core.schema import Column, StreamSchema
from include.core.widening import keeps, settle, widens
from tests.support.pipeline import contract
from tests.unit.test_contracts_check import SOURCE, write

ZONE = " with time zone"
TYPES = (
    "smallint", "integer", "bigint", "numeric", "numeric(5,0)", "numeric(10,2)", "numeric(12,2)", "numeric(14,4)", "real",
    "double precision", "text", "character varying", "character varying(9)", "character varying(10)", "character(3)",
    "character(4)", "bit varying(3)", "date", f"timestamp{ZONE}", f"timestamp(3){ZONE}", "timestamp without time zone",
    "interval(3)", "interval", "integer[]", "bigint[]", "jsonb", "shop.colour", "interval year",
)  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "wide", "narrow"),
    [
        ("smallint", "integer", True, False),
        ("bigint", "integer", False, True),
        ("integer", "numeric", True, False),
        ("integer", "numeric(12,2)", True, False),
        ("integer", "numeric(11,2)", False, False),
        ("numeric", "bigint", False, True),
        ("numeric(10,0)", "integer", False, True),
        ("numeric(12,2)", "integer", False, False),
        ("numeric(10,2)", "numeric(12,2)", True, False),
        ("numeric(10,2)", "numeric(12,4)", True, False),
        ("numeric(10,2)", "numeric(11,4)", False, False),
        ("numeric(12,4)", "numeric(10,2)", False, False),
        ("numeric(12,2)", "numeric(10,2)", False, True),
        ("numeric(12,2)", "numeric", True, False),
        ("numeric", "numeric(12,2)", False, True),
        ("real", "double precision", True, False),
        ("double precision", "real", False, False),
        ("character varying(9)", "character varying(10)", True, False),
        ("character varying(9)", "text", True, False),
        ("text", "character varying(9)", False, True),
        ("character(3)", "character(4)", True, False),
        ("character(4)", "character(3)", False, False),
        ("bit(3)", "bit(4)", False, False),
        ("bit varying(3)", "bit varying", True, False),
        (f"timestamp(3){ZONE}", f"timestamp{ZONE}", True, False),
        (f"timestamp(6){ZONE}", f"timestamp(3){ZONE}", False, True),
        ("timestamp without time zone", f"timestamp{ZONE}", False, False),
        ("date", f"timestamp{ZONE}", False, False),
        ("integer[]", "bigint[]", True, False),
        ("integer", "bigint[]", False, False),
        ("text", "integer", False, False),
        ("integer", "text", False, False),
        ("json", "jsonb", False, False),
        ("shop.colour", "shop.colour2", False, False),
    ],
)
def test_which_type_holds_which(old: str, new: str, wide: bool, narrow: bool) -> None:
    assert (widens(old, new), keeps(old, new)) == (wide, narrow)


def test_types_are_ordered() -> None:
    for a, b in product(TYPES, TYPES):
        assert not (widens(a, b) and (widens(b, a) or keeps(a, b)))
        assert settle(a, b) != a or a == b or widens(b, a)
        for c in TYPES:
            assert not (keeps(a, b) and keeps(b, c)) or keeps(a, c)


STREAM: dict[str, Any] = {
    "name": "people", "table": "public.people", "primary_key": ["id"], "mode": "incremental", "cursor": "at",
    "columns": {
        "id": {"type": "integer"}, "at": {"type": f"timestamp{ZONE}"}, "name": {"type": "text"},
        "mail": {"type": "text", "pii": "email"},
        "secret": {"type": "text", "ignore": True},
    },
}  # fmt: skip
IN_SOURCE = [Found("id", "integer", 1), Found("at", f"timestamp{ZONE}", 2), Found("name", "text", 3)]
IN_SOURCE += [Found("mail", "text", 4), Found("secret", "text", 5)]
BEFORE = StreamSchema(
    tuple(
        Column(one.name, one.type, one.type, "text", number=one.number) for one in IN_SOURCE if one.number < 5
    ),
    ("id",),
    77,
)
LAST = Known({"people": BEFORE})
EVOLVE = dict.fromkeys(("new_column", "widened", "narrowed", "dropped", "renamed"), "evolve")


def told(
    *there: Found, answers: Any = EVOLVE, key: tuple[str, ...] = ("id",), known: bool = True
) -> list[tuple[str, str, str]]:
    source = contract("s", [STREAM], on_schema_change=answers)
    found = compare(source, source.streams[0], there, key, LAST if known else NOTHING_KNOWN, 77)
    return [(change.kind, change.column, change.answer) for change in found.changes]


def test_each_kind_is_told_by_name_number_and_type() -> None:
    id_, at, _, mail, secret = IN_SOURCE
    assert told(*IN_SOURCE) == []
    assert told(*IN_SOURCE[:4]) == []  # what is not read may go
    assert told(*IN_SOURCE, Found("age", "integer", 6)) == [("new_column", "age", "evolve")]
    assert told(Found("id", "bigint", 1), *IN_SOURCE[1:]) == [("widened", "id", "evolve")]
    assert told(Found("id", "smallint", 1), *IN_SOURCE[1:]) == [("narrowed", "id", "evolve")]
    assert told(id_, at, Found("name", "jsonb", 3), mail, secret) == [("retyped", "name", "freeze")]
    assert told(id_, at, mail, secret) == [("dropped", "name", "evolve")]
    assert told(id_, at, Found("label", "text", 3), mail, secret) == [("renamed", "name", "evolve")]
    assert told(id_, at, Found("label", "text", 9), mail, secret) == [
        ("dropped", "name", "evolve"),
        ("new_column", "label", "evolve"),
    ]
    assert told(Found("number", "bigint", 1), *IN_SOURCE[1:], key=("number",)) == [
        ("renamed", "id", "evolve"),
        ("widened", "id", "evolve"),
    ]
    assert told(*IN_SOURCE, key=("id", "name")) == [("changed_key", "", "freeze")]
    assert told(*IN_SOURCE, key=()) == []  # a source without a constraint may keep its key all the same


def test_without_a_load_before_a_renamed_column_is_one_that_went_and_one_that_came() -> None:
    id_, at, _, mail, secret = IN_SOURCE
    assert told(id_, at, Found("label", "text", 3), mail, secret, known=False) == [
        ("dropped", "name", "evolve"),
        ("new_column", "label", "evolve"),
    ]


def test_new_columns_wait_for_a_person_where_something_personal_or_left_out_has_gone() -> None:
    id_, at, name, mail, secret = IN_SOURCE
    new = Found("contact", "text", 9)
    assert told(id_, at, name, secret, new)[1] == ("new_column", "contact", "freeze")
    assert told(id_, at, name, mail, new) == [("new_column", "contact", "freeze")]
    assert told(id_, at, name, mail, new, answers={"new_column": "ignore"}) == [
        ("new_column", "contact", "ignore")
    ]
    # Renamed, it keeps its rules, so nothing is unknown.
    assert told(id_, at, name, Found("contact", "text", 4), secret, Found("age", "integer", 9)) == [
        ("renamed", "mail", "evolve"),
        ("new_column", "age", "evolve"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "answers"),
    [("stop", {}), ("add_columns", {"new_column": "evolve"}), ({"widened": "evolve"}, {"widened": "evolve"})],
)
def test_a_word_or_a_mapping_answers_every_kind(words: Any, answers: dict[str, str]) -> None:
    frozen = dict.fromkeys(
        ("new_column", "widened", "narrowed", "retyped", "dropped", "renamed", "changed_key"), "freeze"
    )
    found = contract("s", [STREAM], on_schema_change=words).schema_answers.model_dump()
    assert found == frozen | {"new_table": "ignore"} | answers


@pytest.mark.parametrize(
    "line", ["retyped: evolve", "changed_key: evolve", "new_table: evolve", "dropt: freeze"]
)
def test_what_no_run_could_do_is_a_fault_of_the_contract(tmp_path: Any, line: str) -> None:
    from include.core.contracts.load import read_one

    path = write(tmp_path, "sources", "shop", SOURCE + f"\non_schema_change:\n  {line}\n")
    with pytest.raises(FaultyContract) as caught:
        read_one(SourceContract, path)
    assert f"on_schema_change.{line.partition(':')[0]}" in str(caught.value)


def test_the_correction_is_yaml_that_says_what_the_source_has() -> None:
    _, at, _, mail, secret = IN_SOURCE
    there = [Found("id", "bigint", 1), at, Found("My: label", "character varying(9)", 3), mail, secret]
    there.append(Found("on", "numeric(9,2)", 9))
    source = contract("s", [STREAM])
    changes = compare(source, source.streams[0], there, ("id", "on"), LAST, 77).changes
    (stream,) = yaml.safe_load(correction({"people": changes}))["streams"]
    assert stream["primary_key"] == ["id", "on"]
    assert stream["columns"] == {
        "id": {"type": "bigint"}, "My: label": {"type": "character varying(9)"}, "on": {"type": "numeric(9,2)"},
    }  # fmt: skip


def test_an_unread_table_stops_only_where_the_contract_says_so() -> None:
    refuse(contract("s", [STREAM]), {}, ["public.other"])
    with pytest.raises(SchemaChanged, match=r"table public\.other: no stream reads it \(new_table\)"):
        refuse(contract("s", [STREAM], on_schema_change={"new_table": "freeze"}), {}, ["public.other"])


def test_a_manifest_keeps_the_changes_and_what_columns_are_known_by() -> None:
    source = contract("s", [STREAM], on_schema_change=EVOLVE)
    changes = compare(source, source.streams[0], IN_SOURCE[:3], ("id",), LAST, 77).changes
    stream = StreamManifest(
        "people", "incremental", BEFORE, (), None, False, None, None, None, 0.1, changes=changes
    )
    manifest = Manifest("s", 1, "r", "regular", "server", (1,), "2026-01-01", (stream,))
    again = Manifest.from_bytes(manifest.to_bytes())
    assert again == manifest and again.streams[0].schema.table == 77
    assert [column.number for column in again.streams[0].schema.columns] == [1, 2, 3, 4]
    bare = StreamSchema(
        tuple(Column(c.name, c.source_type, c.raw_type, c.carrier) for c in BEFORE.columns), ("id",)
    )
    assert again.streams[0].schema.fingerprint == bare.fingerprint


def test_what_becomes_of_a_column_that_the_contract_never_knew_is_a_change_too() -> None:
    before = StreamSchema(
        (*BEFORE.columns, Column("age", "integer", "integer", "int", number=9)), BEFORE.primary_key, BEFORE.table
    )  # fmt: skip
    last = Known({"people": before})
    source = contract("s", [STREAM], on_schema_change=EVOLVE)
    for there, kinds in (
        (Found("age", "integer", 9), []),
        (Found("age", "bigint", 9), [("widened", "evolve")]),
        (Found("age", "text", 9), [("retyped", "freeze")]),
        (Found("years", "bigint", 9), [("renamed", "evolve"), ("widened", "evolve")]),
    ):
        found = compare(source, source.streams[0], [*IN_SOURCE, there], ("id",), last, 77)
        assert [(one.kind, one.answer) for one in found.changes] == [("new_column", "evolve"), *kinds]
        assert found.names[there.name] == "age"
        written = correction({"people": [one for one in found.changes if one.kind != "retyped"]})
        assert (
            written.count(f"{there.name}:") == 1 and f"{there.name}: {{type: {there.type}}}  # new" in written
        )
    said = "column 'age': it was loaded as integer, source has text (retyped)"
    assert said in map(
        str,
        compare(source, source.streams[0], [*IN_SOURCE, Found("age", "text", 9)], ("id",), last, 77).changes,
    )


def test_a_rename_is_remembered_where_numbers_say_nothing_and_names_count_when_all_is_read_anew() -> None:
    source = contract("s", [STREAM], on_schema_change=EVOLVE)
    id_, at, _, mail, secret = IN_SOURCE
    called = replace(
        BEFORE,
        columns=(*BEFORE.columns[:2], replace(BEFORE.columns[2], source_name="label"), BEFORE.columns[3]),
    )
    for table, numbers in ((77, 0), (78, 100)):
        there = [
            replace(one, number=one.number + numbers)
            for one in (id_, at, Found("label", "text", 3), mail, secret)
        ]
        for anew in (False, True):
            found = compare(source, source.streams[0], there, ("id",), Known({"people": called}, anew), table)
            assert [(one.kind, one.column) for one in found.changes] == [("renamed", "name")]
    # Another table with other numbers and no memory of a rename: only names are known.
    other = [id_, at, Found("label", "text", 3), mail, secret]
    kinds = [one.kind for one in compare(source, source.streams[0], other, ("id",), LAST, 78).changes]
    assert kinds == ["dropped", "new_column"]
    swapped = [id_, at, Found("mail", "text", 3), Found("name", "text", 4), secret]
    told = [
        compare(source, source.streams[0], swapped, ("id",), Known({"people": BEFORE}, anew), 77)
        for anew in (False, True)
    ]
    assert [len(one.changes) for one in told] == [2, 0] and told[0].names["mail"] == "name"
