"""Marts: a candidate that nobody sees, published all at once, with names, grants and dependent views kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from include.core.errors import GateFailed, TerminalError, TransientError
from include.flows.transform import Transform, publications, rollback
from tests.support.pipeline import Pipeline
from tests.support.transforms import SHOP

ONE = "create table marts_candidate.one as select 1 as id, 'a' as name"
TWO = "create table marts_candidate.two as select 1 as id"
SYNC = "create table activation_candidate.contacts as select 1 as id"


def test_a_candidate_is_seen_by_nobody_until_it_is_published(build: Any, as_role: Any) -> None:
    # models that are built side by side find the schemas that they share
    view = "create view staging.stg_one as select 1 as id"
    transform = build("first", view, ONE, TWO, SYNC)
    for role in ("analyst", "developer", "activator", "loader"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            as_role(role, "select * from marts_candidate.one")
    version, relations = transform.publish()
    assert relations == {"marts": {"one": 1, "two": 1}, "activation": {"contacts": 1}}
    assert as_role("analyst", "select * from marts.one") == [(1, "a")]
    assert as_role("activator", "select * from activation.contacts") == [(1,)]
    assert transform.publish()[0] == version  # a second try changes nothing
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        as_role("analyst", "select * from activation.contacts")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        as_role("analyst", f"select * from marts_v{version}.one")


def test_views_of_consumers_survive_a_publication_and_see_the_new_version(
    build: Any, as_role: Any, pipeline: Pipeline
) -> None:
    build("first", ONE).publish()
    pipeline.at_warehouse("create view public.report as select name from marts.one")
    build("second", "create table marts_candidate.one as select 1 as id, 'b' as name, 2 as more").publish()
    assert pipeline.at_warehouse("table public.report") == [("b",)]
    assert as_role("analyst", "select * from marts.one") == [(1, "b", 2)]


def test_a_column_that_a_consumer_depends_on_is_not_taken_away(build: Any, pipeline: Pipeline) -> None:
    build("first", ONE, TWO).publish()
    pipeline.at_warehouse("create view public.report as select name from marts.one")
    narrower = build(
        "second", "create table marts_candidate.one as select 1 as id", TWO.replace("1 as", "2 as")
    )
    with pytest.raises(TerminalError, match="views of consumers depend on it") as caught:
        narrower.publish()
    assert "report" in str(caught.value)
    # Nothing of the publication happened, not for the other table either.
    assert pipeline.at_warehouse("select * from marts.two") == [(1,)]
    pipeline.at_warehouse("drop view public.report")
    narrower.publish()
    assert pipeline.at_warehouse("select * from marts.one, marts.two") == [(1, 2)]


def test_a_table_that_is_built_no_longer_disappears(build: Any, pipeline: Pipeline) -> None:
    build("first", ONE, TWO).publish()
    build("second", ONE).publish()
    assert pipeline.at_warehouse("select to_regclass('marts.two')") == [(None,)]


def test_one_goes_back_at_once(build: Any, pipeline: Pipeline) -> None:
    first, _ = build("first", ONE).publish()
    build("second", ONE.replace("'a'", "'b'"), TWO).publish()
    assert rollback("shop", pipeline.connect) == first
    assert pipeline.at_warehouse("select name, to_regclass('marts.two') from marts.one") == [("a", None)]
    assert [version for version, *_ in publications("shop", pipeline.connect)] == [first]
    with pytest.raises(TerminalError, match="no version before"):
        rollback("shop", pipeline.connect)
    build("third", ONE.replace("'a'", "'c'")).publish()
    assert pipeline.at_warehouse("select name from marts.one") == [("c",)]


def test_only_the_serving_version_and_the_one_before_take_space(build: Any, pipeline: Pipeline) -> None:
    versions = [build(f"run {number}", ONE).publish()[0] for number in range(4)]
    kept = pipeline.at_warehouse("select nspname from pg_namespace where nspname ~ '^marts_v' order by 1")
    assert kept == [(f"marts_v{version}",) for version in versions[-2:]]


def test_what_a_failed_build_left_is_not_published_by_the_next_run(build: Any, as_role: Any) -> None:
    build("failed", ONE, TWO)
    _, relations = build("next", ONE).publish()
    assert relations["marts"] == {"one": 1}
    with pytest.raises(TerminalError, match="nothing of this run"):
        build("empty").publish()


def test_a_candidate_of_another_run_is_not_published(build: Any, pipeline: Pipeline) -> None:
    first = build("first", ONE)
    version, _ = first.publish()
    with pytest.raises(TerminalError, match="it is published, or gone"):
        first.audit("marts", "one")
    build("second", ONE.replace("'a'", "'bad'"), gated=False)
    assert first.publish()[0] == version
    with pytest.raises(TerminalError, match="nothing of this run"):
        Transform(SHOP, pipeline.connect, "third", Path("none")).publish()
    assert pipeline.at_warehouse("select name from marts.one") == [("a",)]


def test_a_run_that_is_cleared_publishes_what_it_builds_now(build: Any, pipeline: Pipeline) -> None:
    first, _ = build("run", ONE).publish()
    again = build("run", ONE.replace("'a'", "'corrected'"))
    second, _ = again.publish()
    assert second > first
    assert pipeline.at_warehouse("select name from marts.one") == [("corrected",)]
    assert again.publish()[0] == second  # it published what it had built; there is nothing new
    assert [version for version, *_ in publications("shop", pipeline.connect)] == [second, first]


def test_what_the_gate_has_not_judged_is_not_published(build: Any, pipeline: Pipeline) -> None:
    build("run", ONE, TWO).publish()
    # built anew by the same run: what the gate said before was about other rows
    again = build("run", ONE.replace("'a'", "'unseen'"), TWO, gated=False)
    with pytest.raises(GateFailed, match=r"received: marts\.one, marts\.two"):
        again.publish()
    again.audit("marts", "one")
    with pytest.raises(GateFailed, match=r"received: marts\.two\n") as caught:
        again.publish()
    assert "include/suites/marts/two.py" in str(caught.value)
    assert pipeline.at_warehouse("select name from marts.one") == [("a",)]
    again.audit("marts", "two")
    again.publish()
    assert pipeline.at_warehouse("select name from marts.one") == [("unseen",)]


def test_a_table_without_a_suite_fails_the_gate_and_is_told_which_file_to_write(
    build: Any, suites: Path
) -> None:
    missing = suites / "marts" / "one.py"
    missing.unlink()
    transform = build("run", ONE, gated=False)
    with pytest.raises(GateFailed, match="no suite") as caught:
        transform.audit("marts", "one")
    assert f"write {missing}" in str(caught.value)
    with pytest.raises(GateFailed, match="not judged every table"):
        transform.publish()


def test_a_reader_who_does_not_let_go_delays_a_publication_and_nobody_else(
    build: Any, as_role: Any, pipeline: Pipeline
) -> None:
    build("first", ONE).publish()
    second = build("second", ONE.replace("'a'", "'b'"))
    with psycopg.connect(pipeline.connect("warehouse_analyst").postgres_uri()) as idle:
        idle.execute("select * from marts.one")
        with pytest.raises(TransientError, match="open transaction"):
            second.publish()
        assert as_role("analyst", "select name from marts.one") == [("a",)]
    second.publish()
    assert as_role("analyst", "select name from marts.one") == [("b",)]


def test_the_gate_names_the_rule_and_the_rows(build: Any, pipeline: Pipeline, suites: Path) -> None:
    (suites / "marts" / "one.py").write_text(
        "import great_expectations.expectations as gxe\n"
        "def expectations():\n"
        "    return [gxe.ExpectColumnValuesToBeBetween(column='id', min_value=5, description='ids start at five'),\n"
        "            gxe.ExpectColumnValueLengthsToEqual(column='name', value=9, description='names are long')]\n"
    )
    transform = build("first", ONE, gated=False)
    with pytest.raises(GateFailed, match="ids start at five: 1 of 1 rows") as caught:
        transform.audit("marts", "one")
    with pytest.raises(GateFailed, match=r"marts\.one"):
        transform.publish()
    assert "{'id': 1}" in str(caught.value)
    # A column that its documentation marks as personal is never shown.
    assert "{'id': 1, 'name': '(personal data)'}" in str(caught.value)
    found = pipeline.at_warehouse(
        "select relation, passed, expectations, failures::text from ledger.gate_result"
    )
    assert found[0][:3] == ("marts.one", False, 2)
    assert '"a"' not in found[0][3]


def test_each_role_can_do_its_own_work_and_no_other(build: Any, as_role: Any, pipeline: Pipeline) -> None:
    build("first", ONE).publish()
    pipeline.at_warehouse("create schema raw_x authorization millrace_loader")
    as_role("loader", "create table raw_x.t as select 1 as id")
    assert as_role("transformer", "select * from raw_x.t") == [(1,)]
    refused = [
        ("transformer", "insert into raw_x.t values (2)"),
        ("transformer", "update ledger.watermark set watermark = null"),
        ("transformer", "select * from ledger.sync_record"),
        ("transformer", "delete from ledger.publication"),
        ("transformer", "delete from ledger.model_result"),
        ("loader", "drop view marts.one"),
        ("loader", "insert into ledger.publication (transform, run_id, relations) values ('x', 'x', '{}')"),
        ("activator", "select * from raw_x.t"),
        ("activator", "select * from marts.one"),
        ("activator", "delete from ledger.load"),
        ("analyst", "select * from raw_x.t"),
        ("analyst", "create schema mine"),
        ("developer", "drop view marts.one"),
        ("developer", "insert into raw_x.t values (2)"),
        ("developer", "select * from staging_batches.t"),
    ]
    allowed = []
    for role, statement in refused:
        try:
            as_role(role, statement)
        except psycopg.errors.InsufficientPrivilege:
            continue
        allowed.append((role, statement))
    assert allowed == []
