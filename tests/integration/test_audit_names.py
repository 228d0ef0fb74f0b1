"""Every rule of a contract is judged on columns of any spelling: good rows pass it, and bad ones do not."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import sql

from include.core.errors import GateFailed
from tests.support.cases import cases
from tests.support.pipeline import Pipeline, contract

NAMES = [
    "plain", "Mixed Case", 'a "quoted" one', "it's", "back\\slash", "back\\new", "two\nlines", "tab\there", "a:b", "c::text",
    "\\:d", "%(e)s", "100%", "{batch}", "$1", "ünï😀", "select", "a.b", "[0]", "col(x)",
]  # fmt: skip
RULES: dict[str, tuple[dict[str, Any], str]] = {
    "not null": ({"not_null": True}, "null"),
    "values": ({"values": ["fine", "it's: {too}"]}, "'other'"),
    "pattern": ({"pattern": "^f[[:alpha:]]+$"}, "'other'"),
}


@pytest.mark.parametrize("rule", RULES)
def test_rules_of_text_columns(pipeline: Pipeline, rule: str) -> None:
    kept, bad = RULES[rule]
    _judged(pipeline, "text", kept, "'fine'", bad)


def test_limits(pipeline: Pipeline) -> None:
    _judged(pipeline, "integer", {"min": 3, "max": 5}, "4", "6")


def _judged(pipeline: Pipeline, kind: str, kept: dict[str, Any], good: str, bad: str) -> None:
    """All good: it passes. One bad value in each column: each is told, and no other."""
    columns = sql.SQL(", ").join(sql.SQL(f"{{}} {kind}").format(sql.Identifier(name)) for name in NAMES)
    pipeline.at_source(sql.SQL("create table t (id int primary key, {})").format(columns).as_string())
    pipeline.at_source(f"insert into t values (1{f', {good}' * len(NAMES)}), (2{f', {good}' * len(NAMES)})")
    stream = {
        "name": "t",
        "table": "public.t",
        "mode": "snapshot",
        "primary_key": ["id"],
        "columns": {"id": {"type": "integer"}, **{name: {"type": kind, **kept} for name in NAMES}},
    }
    names = contract("names", [stream])
    assert pipeline.pull(names).changed == {"t": 2}
    pipeline.at_source(f"update t set {_assigned(bad)} where id = 2")
    with pytest.raises(GateFailed):
        pipeline.pull(names)
    ((failures,),) = pipeline.at_warehouse(
        "select failures from ledger.load_stream where status = 'rejected' order by load_id desc limit 1"
    )
    assert len(failures) == len(NAMES)
    # each tells its column; a tolerance of half the rows lets all of them pass
    assert all(any(name in failure["rule"] for failure in failures) for name in NAMES)
    half = contract("names", [stream], errors_tolerated=0.5)
    assert pipeline.pull(half).changed == {"t": 1}


def _assigned(value: str) -> str:
    return ", ".join(sql.SQL("{} = ").format(sql.Identifier(name)).as_string() + value for name in NAMES)


@pytest.mark.parametrize("name", cases(NAMES, daily=['a "quoted" one', "back\\new", "%(e)s", "ünï😀"]))
def test_keys_and_references(pipeline: Pipeline, name: str) -> None:
    column = sql.Identifier(name)
    pipeline.at_source(
        sql.SQL("create table parents ({0} int); create table children ({0} int, n int)")
        .format(column)
        .as_string()
        + "; insert into parents values (1), (2); insert into children values (1, 1), (2, 1), (2, 2)"
    )
    typed = {name: {"type": "integer"}}
    parents = {
        "name": "parents",
        "table": "public.parents",
        "mode": "snapshot",
        "primary_key": [name],
        "columns": typed,
    }
    children = parents | {
        "name": "children",
        "table": "public.children",
        "primary_key": [name, "n"],
        "columns": typed | {"n": {"type": "integer"}},
        "references": [{"columns": [name], "stream": "parents"}],
    }
    family = contract("family", [parents, children])
    assert pipeline.pull(family).changed == {"parents": 2, "children": 3}
    for wrong, right in (
        (
            "insert into parents values (2)",
            "delete from parents where ctid = (select max(ctid) from parents)",
        ),
        (
            "insert into parents values (null)",
            "delete from parents where ctid = (select max(ctid) from parents)",
        ),
        (
            "insert into children values (2, 1)",
            "delete from children where ctid = (select max(ctid) from children)",
        ),
        (
            "insert into children values (9, 1)",
            "delete from children where ctid = (select max(ctid) from children)",
        ),
    ):
        pipeline.at_source(wrong)
        with pytest.raises(GateFailed):
            pipeline.pull(family)
        pipeline.at_source(right)
    pipeline.pull(family)


def test_names_that_differ_in_case_only_are_not_mixed_up_by_one_process(pipeline: Pipeline) -> None:
    """A task audits several batches, and Great Expectations keeps something of each."""
    pipeline.at_source(
        'create table lower (id int primary key, "No" int); create table upper ("Id" int primary key, no int)'
    )
    pipeline.at_source("insert into lower values (1, 1); insert into upper values (1, 1)")
    shapes = {"lower": ("id", "No"), "upper": ("Id", "no")}
    streams = [
        {
            "name": name,
            "table": f"public.{name}",
            "primary_key": [key],
            "mode": "snapshot",
            "columns": {key: {"type": "integer"}, other: {"type": "integer", "not_null": True, "min": 0}},
        }
        for name, (key, other) in shapes.items()
    ]
    for order in (streams, streams[::-1]):
        pipeline.pull(contract("store", order), full_refresh=True)
