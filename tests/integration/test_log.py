"""A stream of mode log: every kind of change comes as it was, once."""

from __future__ import annotations

import pytest

from tests.support.logged import COLUMNS, DOCS, TABLE, begun
from tests.support.pipeline import Pipeline, contract

CHANGES = {
    "insert": ("insert into docs values (100, 'new', repeat('x', 9000), 1.50)", (1, 1, 0, 0)),
    "update": ("update docs set title = 'other', body = 'short' where id in (1, 2)", (2, 0, 2, 0)),
    "update beside a value out of line": ("update docs set title = 'other' where id in (1, 2)", (2, 0, 2, 0)),
    "to null": ("update docs set body = null, amount = null where id = 1", (1, 0, 1, 0)),
    "delete": ("delete from docs where id <= 3", (3, 0, 0, 3)),
    "deleted and written again": (
        "delete from docs where id = 1; insert into docs values (1, 'again', 'b', 2)",
        (2, 0, 1, 0),
    ),
    "written and deleted again": (
        "insert into docs values (200, 'gone', 'b', 2); delete from docs where id = 200",
        (2, 0, 0, 0),
    ),
    "another key": ("update docs set id = 300 where id = 5", (2, 1, 0, 1)),
    "keys move on": ("update docs set id = id + 1000", (40, 20, 0, 20)),
    "keys change places": (
        "update docs set id = 0 where id = 1; update docs set id = 1 where id = 2;"
        "update docs set id = 2, title = 'was 1' where id = 0",
        (6, 0, 2, 0),
    ),
    "out of line through keys": (
        "update docs set body = repeat('y', 9000) where id = 1; update docs set title = 'a' where id = 1;"
        "update docs set id = 400 where id = 1; update docs set title = 'b' where id = 400;"
        "update docs set id = 401 where id = 400; update docs set title = 'c' where id = 2;"
        "update docs set id = 402 where id = 2",
        (10, 2, 0, 2),
    ),
    "truncate": ("truncate docs", (1, 0, 0, 20)),
    "truncate and fill": (
        "update docs set title = 'soon gone'; truncate docs;"
        "insert into docs values (1, 'first', 'f', 1), (99, 'n', 'm', 2);"
        "update docs set title = 'last' where id = 1; truncate docs; insert into docs values (2, 'x', repeat('z', 9000), 0);"
        "update docs set title = 'y' where id = 2",
        (27, 0, 1, 19),
    ),
    "savepoints": (
        "begin; update docs set title = 'kept' where id = 1; savepoint a; delete from docs; rollback to a;"
        "insert into docs values (500, 'kept', null, null); savepoint b; update docs set title = 'kept too' where id = 2;"
        "release b; commit",
        (3, 1, 2, 0),
    ),
    "rollback": ("begin; delete from docs; rollback", (0, 0, 0, 0)),
    "nothing": ("select 1", (0, 0, 0, 0)),
}


@pytest.mark.parametrize("identity", ["default", "full"])
def test_every_kind_of_change(pipeline: Pipeline, identity: str) -> None:
    tables = {f"docs{number}": case for number, case in enumerate(CHANGES.values())}
    for table in tables:
        pipeline.at_source(
            TABLE.replace("docs", table) + f"; alter table {table} replica identity {identity}"
        )
    store = begun(pipeline, contract("store", [DOCS | {"name": t, "table": f"public.{t}"} for t in tables]))
    for table, (statement, _) in tables.items():
        pipeline.at_source(statement.replace("docs", table))
    rows = {row["stream"]: row for row in pipeline.pull(store).streams}
    for table, (_, counted) in tables.items():
        row = rows[table]
        assert (row["extracted"], row["inserted"], row["updated"], row["deleted"]) == counted, tables[table]
        assert pipeline.same(table, f"raw_store.{table}", COLUMNS), tables[table]
    assert {row["extracted"] for row in pipeline.pull(store).streams} == {0}
