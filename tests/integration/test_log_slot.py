"""The slot of a source: made, looked at, guarded, dropped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from typer.testing import CliRunner

from include.cli.main import app
from include.core.contracts import SourceContract
from include.core.errors import ContractError, GateFailed, SourceForbidden, TerminalError
from include.stack import postgres
from include.stack.home import Home
from tests.support.logged import DOCS, TABLE, begun, docs, read, same, slot_of, state_of
from tests.support.own_server import lead_to, server
from tests.support.pipeline import Pipeline, answers, contract


@pytest.fixture
def at(pipeline: Pipeline) -> Pipeline:
    pipeline.at_source(TABLE)
    return pipeline


def flood(pipeline: Pipeline, table: str = "noise") -> None:
    """About 50 MB of log that have nothing to do with us, and a moment from which on less of it is needed."""
    pipeline.at_source(
        f"create table if not exists {table} (t text); insert into {table} select repeat(md5(i::text), 30)"
        " from generate_series(1, 40000) i"
    )
    pipeline.at_source("select pg_log_standby_snapshot()")
    pipeline.at_source("checkpoint")


def test_without_a_slot_nothing_is_read_and_the_command_is_named(at: Pipeline) -> None:
    with pytest.raises(TerminalError, match="millrace slot create store"):
        at.pull(docs())
    assert at.at_warehouse("select count(*) from ledger.watermark") == [(0,)]


def test_made_once_and_widened_when_the_contract_grows(at: Pipeline) -> None:
    store = docs()
    assert len(slot_of(at, store).create()) == 2
    assert slot_of(at, store).create() == []
    at.pull(store)
    at.at_source("create table more (id int primary key, t text); insert into more values (1, 'a')")
    more: dict[str, Any] = DOCS | {"name": "more", "table": "public.more"}
    more["columns"] = {"id": {"type": "integer"}, "t": {"type": "text"}}
    wider = docs(more)
    with pytest.raises(ContractError, match=r"(?s)lacks public.more.*millrace slot create store"):
        at.pull(wider)
    (done,) = slot_of(at, wider).create()
    assert "public.more" in done
    at.at_source("insert into more values (2, 'b'); update docs set title = 'x' where id = 1")
    rows = {row["stream"]: row["extracted"] for row in at.pull(wider).streams}
    assert rows == {"docs": 1, "more": 2}  # the one goes on, the other is read whole
    at.at_source("update more set t = 'c' where id = 1")
    assert read(at, wider, "more") == (1, 0, 1, 0)
    assert at.same("more", "raw_store.more", "id, t") and same(at)


def test_what_others_write_does_not_make_the_slot_hold_the_log(at: Pipeline) -> None:
    store = begun(at, docs())
    for _ in range(2):
        flood(at)
        assert state_of(at, store).behind > 30 << 20
        at.pull(store)
    assert state_of(at, store).behind < 4 << 20
    assert state_of(at, store).held < 60 << 20
    assert same(at)


def test_a_slot_that_holds_too_much_is_told_after_what_it_had_is_published(at: Pipeline) -> None:
    store = contract("store", [DOCS], impact={"held_log_mb": 16})
    begun(at, store)
    with psycopg.connect(at.source) as open_for_long:
        open_for_long.execute("create table others (id int)")
        flood(at)
        at.at_source("update docs set title = 'x'")
        with pytest.raises(GateFailed, match="held_log_mb: 16"):
            at.pull(store)
        assert same(at)
    flood(at, "others2")
    at.pull(docs())
    flood(at, "others3")
    at.pull(docs())
    assert state_of(at, store).held < 120 << 20


def test_a_lost_slot_is_told_and_a_new_one_begins_with_the_whole_table(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    who = postgres.initialise(Home(tmp_path), "secret")
    with server(who, max_slot_wal_keep_size="16MB", max_wal_size="32MB", min_wal_size="32MB") as uri:
        lead_to(pipeline, uri)
        pipeline.at_source(TABLE)
        store = begun(pipeline, docs())
        pipeline.at_source("update docs set title = 'x' where id = 1; delete from docs where id = 2")
        for number in range(3):
            flood(pipeline, f"noise{number}")
        with pytest.raises(TerminalError, match=r"(?s)thrown away.*millrace slot drop store.*full_refresh"):
            pipeline.pull(store)
        slot = slot_of(pipeline, store)
        slot.drop()
        slot.create()
        with pytest.raises(TerminalError, match=r"(?s)no longer has all changes.*full_refresh"):
            pipeline.pull(store)
        assert read(pipeline, store, full_refresh=True) == (19, 0, 1, 1)
        pipeline.at_source("update docs set title = 'y' where id = 1")
        assert read(pipeline, store) == (1, 0, 1, 0)
        assert same(pipeline)


def test_a_server_that_writes_no_such_log_is_refused(pipeline: Pipeline, tmp_path: Path) -> None:
    who = postgres.initialise(Home(tmp_path), "secret")
    with server(who, wal_level="replica") as uri:
        lead_to(pipeline, uri)
        pipeline.at_source(TABLE)
        with pytest.raises(TerminalError, match="alter system set wal_level = logical"):
            slot_of(pipeline, docs()).create()
        with pytest.raises(TerminalError, match="alter system set wal_level = logical"):
            pipeline.pull(docs())


def test_what_the_role_may_not_do_is_said_as_a_statement(at: Pipeline) -> None:
    name = at.source.rsplit("/", 1)[1]
    at.at_source(f"drop role if exists reader_{name}")
    at.at_source(f"create role reader_{name} login password 'x'; grant select on docs to reader_{name}")
    owner = at.connections["source"]
    reader = replace(owner, login=f"reader_{name}", password="x")
    try:
        at.connections["source"] = reader
        with pytest.raises(
            SourceForbidden, match=r'create publication "millrace_store" for table public\.docs'
        ):
            slot_of(at, docs()).create()
        at.at_source('create publication "millrace_store" for table public.docs')
        with pytest.raises(SourceForbidden, match=f"alter role reader_{name} replication;"):
            slot_of(at, docs()).create()
        at.at_source(f"alter role reader_{name} replication")
        store = begun(at, docs())
        slot_of(at, store).probe()
        at.at_source("update docs set title = 'x' where id = 1")
        assert read(at, store) == (1, 0, 1, 0) and same(at)
        at.at_source(f"alter role reader_{name} noreplication")
        for cannot in (slot_of(at, store).probe, lambda: at.pull(store)):
            with pytest.raises(SourceForbidden, match="replication"):
                cannot()
        at.connections["source"] = owner
        slot_of(at, store).drop()
    finally:
        at.connections["source"] = owner
        at.at_source(f"drop owned by reader_{name}; drop role reader_{name}")


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("alter table docs drop constraint docs_pkey", "replica identity full"),
        ("alter table docs replica identity nothing", "replica identity full"),
        ("create table child () inherits (docs)", "which others inherit from"),
        ("alter publication millrace_store set (publish = 'insert')", "leaves out kinds of changes"),
        ("alter publication millrace_store set table docs where (id > 5)", "leaves out rows"),
        (
            "alter publication millrace_store set table docs (id, title)",
            "leaves out columns of public.docs: body, amount",
        ),
        ("alter publication millrace_store drop table docs", "lacks public.docs"),
        ("drop publication millrace_store", "there is no publication"),
    ],
)
def test_a_table_that_the_log_would_not_tell_whole_is_refused(
    at: Pipeline, statement: str, told: str
) -> None:
    store = docs()
    slot_of(at, store).create()
    at.at_source(statement)
    with pytest.raises(ContractError, match=told):
        at.pull(store)


@pytest.mark.parametrize(
    ("statement", "columns", "told"),
    [
        ("add column price money", {"price": {"type": "money"}}, "price of public.docs .money."),
        (
            "add column twice int generated always as (id * 2) virtual",
            {"twice": {"type": "integer"}},
            "leaves out columns of public.docs: twice",
        ),
    ],
)
def test_a_column_that_the_log_does_not_tell_is_refused_until_it_is_ignored(
    at: Pipeline, statement: str, columns: dict[str, Any], told: str
) -> None:
    at.at_source(f"alter table docs {statement}")
    store = docs(columns=DOCS["columns"] | columns)
    slot_of(at, store).create()
    with pytest.raises(ContractError, match=told):
        at.pull(store)
    ignored = {name: rule | {"ignore": True} for name, rule in columns.items()}
    begun(at, docs(columns=DOCS["columns"] | ignored))
    assert same(at)


def test_the_commands(at: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sources").mkdir()
    text = yaml.safe_dump(answers("store", [DOCS]) | {"slot": "ours"})
    (tmp_path / "sources" / "store.yaml").write_text(text)
    monkeypatch.setenv("MILLRACE_CONTRACTS", str(tmp_path))
    monkeypatch.setenv("AIRFLOW_CONN_SOURCE", at.source)

    def told(*words: str, code: int = 0, given: str = "") -> str:
        result = CliRunner().invoke(app, ["slot", *words], input=given)
        assert result.exit_code == code, result.output
        return " ".join(result.output.split())

    assert "there is no slot ours" in told("status", "store", code=1)
    assert "made publication ours: public.docs made slot ours" in told("create", "store")
    assert "nothing to do" in told("create", "store")
    assert "public.docs: published; rows are told by its primary key" in told("status", "store")
    check = CliRunner().invoke(app, ["contract", "check", "store", "--connect"])
    assert check.exit_code == 0, check.output
    at.at_source("alter table docs replica identity nothing")
    assert "replica identity full" in told("status", "store", code=1)
    assert "to drop" in told("drop", "store", "--dry-run")
    told("drop", "store", code=1, given="n\n")
    assert at.at_source("select count(*) from pg_replication_slots where slot_name = 'ours'") == [(1,)]
    assert "dropped slot ours" in told("drop", "store", given="y\n")
    assert at.at_source("select count(*) from pg_replication_slots where slot_name = 'ours'") == [(0,)]
    assert at.at_source("select count(*) from pg_publication") == [(0,)]
    assert "neither was there" in told("drop", "store", "--yes")


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"primary_key": []}, "or a primary_key beside mode: log"),
        ({"cursor": "id"}, "the log has every change"),
        ({"deletes": "keys"}, "the log tells of each delete"),
        ({"freshness": "1h"}, "no freshness"),
        ({"columns": DOCS["columns"] | {"_seq": {"type": "integer"}}}, "changes have their own column"),
    ],
)
def test_what_does_not_go_with_a_log_is_refused(fields: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        docs(**fields)


def test_a_slot_is_named_only_where_a_log_is_read() -> None:
    with pytest.raises(ValueError, match="no stream has mode: log"):
        SourceContract.model_validate(answers("store", [DOCS | {"mode": "snapshot"}]) | {"slot": "ours"})
