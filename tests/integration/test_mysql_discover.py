"""`millrace discover` on a MariaDB: what it drafts loads, says what to decide, and runs."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from include.core.contracts import SourceContract, load_one
from include.core.errors import ContractError
from include.sources import discover, open_source
from include.sources.contract_draft import draft
from tests.support.mariadb import MariaDB
from tests.support.pipeline import Pipeline

TODAY = date(2026, 11, 20)
TABLES = (
    "create table shop.customers (id int primary key, email varchar(80) not null, place point,"
    " updated_at timestamp(6) not null default current_timestamp(6) on update current_timestamp(6), key (updated_at))",
    "create table shop.`Order lines` (`order` int, no int, customer int, changed datetime not null,"
    " primary key (no, `order`), foreign key (customer) references shop.customers (id))",
    "create table shop.log (at datetime, line text)",
    "create table shop.old (id int) engine = MyISAM",
    "create view shop.seen as select * from shop.log",
    "insert into shop.customers (id, email) values (1, 'a@example.com')",
    "insert into shop.`Order lines` values (1, 1, 1, utc_timestamp())",
    "insert into shop.log values (null, 'x')",
)


def drafted(database: MariaDB, folder: Path, user: str = "reader") -> tuple[SourceContract, str]:
    connection = database.connection(user) if user == "reader" else database.connection(user, "x")
    text = draft(discover(connection, ["shop"]), "shop_maria", "source", TODAY)
    path = folder / "shop_maria.yaml"
    path.write_text(text, encoding="utf-8")
    return load_one(SourceContract, path), text


def test_what_it_drafts_runs(from_maria: Pipeline, maria: MariaDB, tmp_path: Path) -> None:
    maria.run(*TABLES)
    source, text = drafted(maria, tmp_path)
    assert source.kind == "mysql"
    ways = {
        stream.name: (stream.table, stream.mode, stream.cursor, stream.primary_key)
        for stream in source.streams
    }
    assert ways == {
        "customers": ("shop.customers", "incremental", "updated_at", ("id",)),
        "Order lines": ('shop."Order lines"', "incremental", "changed", ("no", "order")),
        "log": ("shop.log", "snapshot", None, ()),
    }
    assert "updated_at is stamped by its on update clause" in text
    assert "changed has no time zone" in text
    assert "pii: email" in text
    assert source.stream("customers").columns["place"].ignore
    assert source.stream("Order lines").references[0].stream == "customers"
    assert "engine MyISAM has no snapshots" in text
    assert "shop.seen: a view" in text
    from_maria.pull(source)
    assert from_maria.at_warehouse('select "order", customer from raw_shop_maria."Order lines"') == [(1, 1)]


def test_without_the_right_to_see_transactions_tables_are_read_whole(maria: MariaDB, tmp_path: Path) -> None:
    maria.run(
        *TABLES,
        "create or replace user shy@'%' identified by 'x'",
        "grant select on shop.customers to shy@'%'",
    )
    source, text = drafted(maria, tmp_path, "shy")
    assert [(stream.name, stream.mode) for stream in source.streams] == [("customers", "snapshot")]
    assert "grant process on *.* to shy@%" in text
    with open_source(source, maria.connection("shy", "x")).snapshot(list(source.streams)):
        pass


def test_a_database_that_is_not_there_is_named(maria: MariaDB) -> None:
    with pytest.raises(ContractError, match="nowhere"):
        discover(maria.connection(), ["nowhere"])
