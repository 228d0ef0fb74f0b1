"""How discover chooses a way of reading, and what it takes for personal data."""

# tables of cases

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
import yaml

from include.sources.choice import birth_cursor, change_cursor, choose, personal, snake
from include.sources.contract_draft import draft, scalar, stream_names
from include.sources.discovered import Found, FoundColumn, FoundTable

ID = FoundColumn("id", "bigint", "number", True)
STAMP = FoundColumn(
    "updated_at", "timestamp with time zone", "timestamptz", True, indexed=True, stamped_by="touch"
)


def table(*columns: FoundColumn, key: tuple[str, ...] = ("id",), name: str = "orders") -> FoundTable:
    return FoundTable("shop", name, f"shop.{name}", (ID, *columns), key, rows=10)


@pytest.mark.parametrize(
    "name",
    ["updated_at", "UpdatedAt", "last_update", "lastModified", "modified", "changed_on", "row_updated_at", "mtime",
     "date_modified", "write_date", "sys_mod_time", "last updated", "MODIFIED_TS", "SystemModstamp"],
)  # fmt: skip
def test_names_of_change(name: str) -> None:
    assert change_cursor(table(replace(STAMP, name=name)))


@pytest.mark.parametrize(
    "name",
    ["password_changed_at", "email_updated_at", "created_at", "valid_to", "update_count", "deleted_at", "at"],
)
def test_names_of_something_else(name: str) -> None:
    assert not change_cursor(table(replace(STAMP, name=name)))


@pytest.mark.parametrize("name", ["created_at", "receivedAt", "inserted_on", "event_time", "logged_at", "ts"])
def test_names_of_birth(name: str) -> None:
    assert birth_cursor(table(replace(STAMP, name=name)))


def test_the_best_of_several_cursors() -> None:
    bare = replace(STAMP, name="modified", type="timestamp without time zone", family="timestamp")
    assert change_cursor(table(bare, replace(STAMP, name="changed_at", not_null=False), STAMP)) == STAMP


def test_a_good_cursor_is_incremental_without_a_question() -> None:
    choice = choose(table(STAMP), ("id",))
    assert (choice.mode, choice.deletes, choice.cursor, choice.decide) == ("incremental", "keys", STAMP, ())


@pytest.mark.parametrize(
    ("column", "question"),
    [
        (replace(STAMP, stamped_by=""), "no trigger stamps updated_at"),
        (replace(STAMP, indexed=False), "no index on updated_at: each pull scans the table"),
        (replace(STAMP, family="timestamp"), "updated_at has no time zone"),
    ],
)
def test_a_doubtful_cursor_is_incremental_with_a_question(column: FoundColumn, question: str) -> None:
    choice = choose(table(column), ("id",))
    assert choice.mode == "incremental"
    assert any(text.startswith(question) for text in choice.decide)


@pytest.mark.parametrize(
    ("columns", "key", "no_incremental", "deletes", "comment"),
    [
        ((), ("id",), "", "snapshot", "no column tells when a row was changed"),
        ((STAMP,), (), "", "none", "no primary key to merge by: each pull replaces the table whole"),
        (
            (replace(STAMP, not_null=False),),
            ("id",),
            "",
            "snapshot",
            "updated_at would be a cursor, but it may be null",
        ),
        ((STAMP,), ("id",), "grant it", "snapshot", "incremental by updated_at becomes possible: grant it"),
        ((replace(STAMP, name="created_at"),), ("id",), "", "snapshot", "are rows only added"),
    ],
)
def test_no_usable_cursor_is_a_snapshot(
    columns: tuple[FoundColumn, ...], key: tuple[str, ...], no_incremental: str, deletes: str, comment: str
) -> None:
    choice = choose(table(*columns), key, no_incremental)
    assert (choice.mode, choice.deletes, choice.cursor) == ("snapshot", deletes, None)
    assert any(text.startswith(comment) for text in (*choice.why, *choice.decide))


@pytest.mark.parametrize(
    ("columns", "no_incremental", "comment"),
    [
        ((), "", "no column tells when a row was changed"),
        ((replace(STAMP, not_null=False),), "", "updated_at would be a cursor, but it may be null"),
        ((STAMP,), "grant it", "incremental by updated_at becomes possible: grant it"),
        ((replace(STAMP, name="created_at"),), "", "are rows only added"),
    ],
)
def test_a_table_that_is_dear_to_read_whole_is_read_by_its_transactions(
    columns: tuple[FoundColumn, ...], no_incremental: str, comment: str
) -> None:
    dear = replace(table(*columns), bytes=128 << 20, by_xmin=True)
    choice = choose(dear, ("id",), no_incremental)
    assert (choice.mode, choice.deletes, choice.cursor) == ("incremental", "keys", None)
    remarks = (*choice.why, *choice.decide)
    assert any(text.startswith(comment) for text in remarks)
    assert any("the source still scans the whole table with each pull" in text for text in remarks)
    for cheap in (replace(dear, by_xmin=False), replace(dear, bytes=(128 << 20) - 1)):
        assert choose(cheap, ("id",), no_incremental).mode == "snapshot"
    assert choose(dear, (), no_incremental).mode == "snapshot"


def test_a_large_table_read_whole_is_a_question() -> None:
    choice = choose(replace(table(), rows=5_000_001), ("id",))
    assert any("about 5,000,001 rows are read whole" in text for text in choice.decide)


@pytest.mark.parametrize(
    ("name", "family", "kind"),
    [
        ("email", "string", "email"), ("EMailAddress", "string", "email"), ("email_sent", "bool", ""),
        ("phone_number", "string", "phone"), ("first_name", "string", "name"), ("FullName", "string", "name"),
        ("product_name", "string", ""), ("filename", "string", ""), ("billing_postal_code", "string", "address"),
        ("address_id", "number", ""), ("client_ip", "network", "network address"), ("peer", "network", "network address"),
        ("zip_code", "string", "address"), ("description", "string", ""), ("birth_date", "date", "birth date"),
        ("password_hash", "string", "credential"), ("api_key", "string", "credential"), ("iban", "string", "bank account"),
        ("lat", "number", "location"), ("plate", "string", ""), ("name", "string", ""), ("company", "string", ""),
    ],
)  # fmt: skip
def test_personal_data_by_name_and_type(name: str, family: str, kind: str) -> None:
    column = FoundColumn(name, "x", family, False)
    assert personal(table(column), column) == kind


def test_personal_data_by_table_and_by_values() -> None:
    name = FoundColumn("name", "text", "string", False)
    assert personal(table(name, name="Customers"), name) == "name"
    note = FoundColumn("note", "text", "string", False, looks_like="email")
    assert personal(table(note), note) == "email"


def test_snake() -> None:
    assert [snake(name) for name in ("LastModifiedAt", "HTTPCode", "a b-c", "Ünï", "x")] == [
        "last_modified_at", "http_code", "a_b_c", "ünï", "x",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["plain", "timestamp with time zone", "no", "y", "null", "~", "1", "1.5", "2026-01-01", "", " a", "a ", "a: b", "#x",
     "- x", "{a}", '"', "'", "a\nb", "a\tb", "\\", "%s", "@a", "`", "*a", "&a", "!a", "\x7f", "\x85", "\u2028", "\ufeffa",
     "🏭", "numeric(10,2)", "a,b", "=", "<<", "12:30", "0x1f", "é"],
)  # fmt: skip
def test_any_text_comes_back_from_yaml(text: str) -> None:
    assert yaml.safe_load(f"{{{scalar(text)}: [{scalar(text)}, {scalar(text)}]}} # x") == {text: [text, text]}


def test_stream_names_are_the_tables_where_they_can_be() -> None:
    def named(schema: str, name: str) -> FoundTable:
        return FoundTable(schema, name, f'"{schema}"."{name}"', (ID,))

    long = "t" * 63
    tables = (
        named("a", "x"),
        named("b", "x"),
        named("a", "y"),
        named("a", long),
        named("b", long),
        named("c", "a_x"),
    )
    names = list(stream_names(tables).values())
    assert names[1:3] == ["b_x", "y"]
    assert names[0].startswith("a_x_")  # a table is called a_x
    assert names[5] == "a_x"
    assert len(set(names)) == 6
    assert all(len(name.encode()) <= 63 for name in names)


def test_a_comment_cannot_break_out() -> None:
    evil = replace(
        table(), quoted='shop."a\nmode: evil"', columns=(replace(ID, name="a\nb: c\u2028d"),), primary_key=()
    )
    text = draft(Found("db", "me\nx: y", "o", (evil,)), "shop", "shop", date(2026, 1, 1))
    data = yaml.safe_load(text)
    assert "x" not in data
    assert list(data["streams"][0]["columns"]) == ["a\nb: c\u2028d"]
