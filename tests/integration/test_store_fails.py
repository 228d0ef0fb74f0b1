"""When what was read cannot be stored, every reader ends, and with them the load: none waits for another one for ever."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from include.core.contracts import SourceContract
from include.core.errors import Unreachable
from include.sources.postgres import ranges
from tests.support.logged import DOCS, TABLE, begun, docs
from tests.support.mariadb import MariaDB
from tests.support.pipeline import Pipeline, contract

#: Far beyond what the store's client waits for.
PATIENCE = 120


def _fails_and_ends(pipeline: Pipeline, source: SourceContract) -> None:
    """A load while the store is away; the next one succeeds."""
    landing = pipeline.connections["landing"]
    away = replace(landing, extra=landing.extra | {"endpoint_url": "http://127.0.0.1:1"})
    raised: list[BaseException] = []

    def pull() -> None:
        try:
            pipeline.pull(source)
        except Exception as error:
            raised.append(error)

    pipeline.connections["landing"] = away
    load = threading.Thread(target=pull, daemon=True)
    load.start()
    load.join(PATIENCE)
    assert not load.is_alive(), "the load hangs"
    assert [type(error) for error in raised] == [Unreachable]
    pipeline.connections["landing"] = landing
    pipeline.pull(source)


def _tables(schema: str, kind: str) -> list[dict[str, Any]]:
    columns = {"id": {"type": kind}, "v": {"type": "text"}}
    return [
        {"name": n, "table": f"{schema}.{n}", "primary_key": ["id"], "mode": "snapshot", "columns": columns}
        for n in ("a", "b", "c")
    ]


def test_a_table_that_is_read_in_ranges_beside_others(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "PAGES", 16)
    for name in "abc":
        pipeline.at_source(f"create table {name} (id int primary key, v text)")
        pipeline.at_source(
            f"insert into {name} select i, repeat(md5(i::text), 20) from generate_series(1, 60000) i"
        )
    _fails_and_ends(pipeline, contract("fails", _tables("public", "integer")))
    assert pipeline.same("a", "raw_fails.a", "id, v")


def test_several_tables_that_are_read_by_the_log(pipeline: Pipeline) -> None:
    others = [DOCS | {"name": name, "table": f"public.{name}"} for name in ("b", "c")]
    pipeline.at_source(TABLE)
    for name in "bc":
        pipeline.at_source(f"create table {name} (like docs including all)")
    store = begun(pipeline, docs(*others))
    pipeline.at_source(
        "update docs set title = 'x'; insert into b select * from docs; insert into c select * from docs"
    )
    _fails_and_ends(pipeline, store)
    assert pipeline.same("c", "raw_store.c", "id, title, body, amount")


@pytest.mark.parametrize("connections", [1, 2])
def test_tables_of_a_mariadb(from_maria: Pipeline, maria: MariaDB, connections: int) -> None:
    for name in "abc":
        maria.run(
            f"create table shop.{name} (id int primary key, v text)",
            f"insert into shop.{name} select seq, repeat(md5(seq), 20) from shop.seq_1_to_60000",
        )
    source = contract("fails", _tables("shop", "int(11)"), kind="mysql", impact={"connections": connections})
    _fails_and_ends(from_maria, source)
    assert from_maria.at_warehouse("select count(*) from raw_fails.c") == [(60000,)]
