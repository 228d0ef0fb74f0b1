"""What a contract protects never leaves the extracting process: landing zone, batches, raw, ledger, logs and errors."""

from __future__ import annotations

import io
import logging
import traceback
from collections.abc import Iterator
from datetime import datetime, timezone

import pyarrow.parquet as pq
import pytest

from include.core.connection import Connection
from include.core.contracts import SourceContract
from include.core.errors import GateFailed, MillraceError, SchemaChanged, TerminalError
from include.core.interval import Interval
from include.flows import extract, load, publish
from include.flows.publish import Published
from include.privacy import is_token, read_keys, reveal
from include.privacy.values import hash_of
from include.sources.log import open_slot
from tests.support.clinic import CLEAR, NEW, OLD, PEOPLE, VISITS, clinic_contract, give_keys
from tests.support.pipeline import Pipeline, contract
from tests.support.stack import S3Store


def landed(store: S3Store, source: str) -> Iterator[tuple[str, str]]:
    """Every object of a source as text, Parquet with all its values and its schema."""
    for path in sorted((store.folder / source).rglob("*")):
        if path.suffix == ".parquet":
            table = pq.read_table(io.BytesIO(path.read_bytes()))
            yield (
                path.name,
                str(table.to_pylist()) + str(table.schema) + str(pq.read_metadata(path).to_dict()),
            )
        elif path.is_file():
            yield path.name, path.read_text()


def everything_in(pipeline: Pipeline) -> str:
    """Every row of every table of the warehouse that is ours."""
    tables = pipeline.at_warehouse(
        "select format('%%I.%%I', schemaname, tablename) from pg_tables"
        " where schemaname not in ('pg_catalog', 'information_schema') and 'x' = %s",
        "x",
    )
    return "\n".join(
        str(row) for (table,) in tables for row in pipeline.at_warehouse(f"select t::text from {table} as t")
    )


def pull_and_search(
    pipeline: Pipeline, source: SourceContract, store: S3Store, caplog: pytest.LogCaptureFixture
) -> Published:
    """A pull that is searched for the clear value after each step. Staging batches are gone after the last one."""
    run = pipeline.run(source)
    with caplog.at_level(logging.DEBUG):
        load_id = extract.extract(run, Interval(None, datetime.now(timezone.utc))).load_id
        for step in (load.stage, load.audit):
            for stream in source.streams:
                step(run, load_id, stream.name)
            assert CLEAR not in everything_in(pipeline)
        published = publish.publish(run, load_id)
        publish.balance(run, load_id)
        publish.close(run, load_id)
    assert CLEAR not in everything_in(pipeline)
    objects = list(landed(store, source.source))
    assert any(name.endswith(".parquet") for name, _ in objects) and objects[0][1]
    assert [name for name, text in objects if CLEAR in text] == []
    assert "rows staged" in caplog.text and CLEAR not in caplog.text
    assert CLEAR not in repr(published)
    return published


def test_increments_by_transaction_are_protected_too(
    clinic: Pipeline, s3_store: S3Store, caplog: pytest.LogCaptureFixture
) -> None:
    source = clinic_contract(PEOPLE | {"cursor": "xmin"}, VISITS, name="moved")
    pull_and_search(clinic, source, s3_store, caplog)
    clinic.at_source(f"update people set email = '{CLEAR}@example.net' where ssn = '{CLEAR}-3'")
    changed = pull_and_search(clinic, source, s3_store, caplog).changed
    assert changed == {"people": 1, "visits": 0}


def test_changes_from_the_log_are_protected_too(
    clinic: Pipeline, s3_store: S3Store, caplog: pytest.LogCaptureFixture
) -> None:
    people = {
        field: PEOPLE[field] for field in ("name", "table", "primary_key", "columns", "max_delete_share")
    }
    source = clinic_contract(people | {"mode": "log", "history": "append"}, VISITS, name="followed")
    clinic.at_source("alter table people alter email set storage external")
    open_slot(source, clinic.connect("source")).create()
    pull_and_search(clinic, source, s3_store, caplog)
    clinic.at_source(
        f"update people set email = repeat('{CLEAR}', 500) where ssn = '{CLEAR}-3';"
        f"update people set updated_at = now(), name = '{CLEAR}' where ssn = '{CLEAR}-3';"
        f"update people set ssn = '{CLEAR}-30' where ssn = '{CLEAR}-3'; delete from people where ssn = '{CLEAR}-4';"
        f"insert into people values ('{CLEAR}-5b', '{CLEAR}5@example.com', null)"
    )
    (changed, _) = pull_and_search(clinic, source, s3_store, caplog).streams
    assert [changed[name] for name in ("extracted", "inserted", "updated", "deleted")] == [6, 2, 0, 2]
    # what stands for a value is the same by both ways
    assert clinic.at_warehouse("select count(*) - count(distinct email) from raw_followed.people") == [(1,)]
    again = clinic_contract(people | {"mode": "log"}, VISITS, name="followed")
    clinic.pull(again, full_refresh=True)
    assert clinic.at_warehouse("select count(*) from raw_followed.people where _load_id = 3") == [(0,)]


def test_a_protected_value_is_nowhere_after_the_extracting_process(
    clinic: Pipeline, s3_store: S3Store, caplog: pytest.LogCaptureFixture
) -> None:
    source = clinic_contract(name="searched")
    pull_and_search(clinic, source, s3_store, caplog)
    keys = read_keys(clinic.connections["keys"])
    people = clinic.at_warehouse("select ssn, email, name from raw_searched.people")
    clear = {row[0]: row for row in clinic.at_source("select ssn, email, name from people")}
    by_hash = {hash_of(keys.current.hashing, ssn.encode()): row for ssn, row in clear.items()}
    assert {ssn for ssn, _, _ in people} == set(by_hash) and len(people) == 20
    for ssn, email, name in people:
        assert is_token(email) and reveal(email, keys) == by_hash[ssn][1]
        assert name == (None if by_hash[ssn][2] is None else "***")
    # both columns join across streams, and the reference was judged
    ours = "select count(*) from {0}visits join {0}people using ({1})"
    for column in ("ssn", "email"):
        there = clinic.at_source(ours.format("", column))
        assert there[0][0] > 0 and clinic.at_warehouse(ours.format("raw_searched.", column)) == there


def test_deletes_and_changes_are_found_by_hashed_keys(
    clinic: Pipeline, s3_store: S3Store, caplog: pytest.LogCaptureFixture
) -> None:
    source = clinic_contract(PEOPLE, name="searched_again")
    clinic.pull(source)
    clinic.at_source(
        f"delete from people where ssn = '{CLEAR}-3';"
        f"update people set name = null, updated_at = clock_timestamp() where ssn = '{CLEAR}-4'"
    )
    published = pull_and_search(clinic, source, s3_store, caplog)
    (row,) = published.streams
    assert (row["inserted"], row["deleted"]) == (0, 1) and row["updated"] >= 1
    (gone,) = clinic.at_warehouse("select ssn from raw_searched_again.people where _deleted_at is not null")
    key = read_keys(clinic.connections["keys"]).current.hashing
    assert gone == (hash_of(key, f"{CLEAR}-3".encode()),)


def test_equal_values_of_two_sources_with_one_key_are_equal(clinic: Pipeline) -> None:
    one = clinic_contract(PEOPLE)
    clinic.pull(one)
    clinic.pull(contract("ward", [{**VISITS, "references": []}], privacy_keys="keys"))
    both = "select count(*) from raw_ward.visits v join raw_clinic.people p on p.ssn = v.ssn and p.email = v.email"
    assert clinic.at_warehouse(both) == clinic.at_source("select count(*) from visits")


def test_a_rotation_reads_the_whole_table_and_old_tokens_still_reveal(clinic: Pipeline) -> None:
    rules = {**PEOPLE["columns"], "ssn": {"type": "text"}, "name": {"type": "text", "protect": "hash"}}
    people = {**PEOPLE, "columns": rules}
    visits = {**VISITS, "columns": {**VISITS["columns"], "ssn": {"type": "text"}}}
    source = clinic_contract(people, visits)
    clinic.pull(source)
    first = clinic.at_warehouse("select ssn, email, name from raw_clinic.people order by ssn")
    assert clinic.pull(source).changed == {"people": 0, "visits": 0}
    give_keys(clinic, NEW, OLD)
    # nothing has changed in the source: the new key alone makes every row of both streams new
    assert clinic.pull(source).changed == {
        "people": 20,
        "visits": len(clinic.at_source("select id from visits")),
    }
    second = clinic.at_warehouse("select ssn, email, name from raw_clinic.people order by ssn")
    keys = read_keys(clinic.connections["keys"])
    for (ssn, email, name), (same, email_now, name_now) in zip(first, second, strict=True):
        assert ssn == same and email != email_now and (name is None or name != name_now)
        assert reveal(email, keys) == reveal(email_now, keys)
    joined = "select count(*) from {0}visits join {0}people using (email)"
    assert clinic.at_warehouse(joined.format("raw_clinic.")) == clinic.at_source(joined.format(""))
    assert clinic.pull(source).changed == {"people": 0, "visits": 0}
    noted = clinic.at_warehouse(
        "select col_description('raw_clinic.people'::regclass, attnum) from pg_attribute"
        " where attrelid = 'raw_clinic.people'::regclass and attname = 'email'"
    )
    assert noted == [(f"protect: token/2026/{keys.current.check}",)]
    # a key that is another one under the same id is seen too
    give_keys(clinic, "2026:" + "2c" * 32, OLD)
    assert clinic.pull(source).changed["people"] == 20


def test_a_key_column_under_a_new_key_asks_for_a_new_raw_table(clinic: Pipeline) -> None:
    clinic.pull(clinic_contract())
    before = clinic.at_warehouse("select * from raw_clinic.people order by ssn")
    give_keys(clinic, NEW, OLD)
    with pytest.raises(SchemaChanged, match="rename or drop the raw table"):
        clinic.pull(clinic_contract())
    assert clinic.at_warehouse("select * from raw_clinic.people order by ssn") == before
    clinic.at_warehouse("drop table raw_clinic.people")
    assert clinic.pull(clinic_contract()).changed["people"] == 20
    # a key that lands in clear one day would be a second row of each person as well
    bare = {**PEOPLE, "columns": {**PEOPLE["columns"], "ssn": {"type": "text"}}}
    with pytest.raises(SchemaChanged, match="protected in another way"):
        clinic.pull(clinic_contract(bare))


def test_without_keys_nothing_is_read(clinic: Pipeline) -> None:
    for password in ("", "2025:short"):
        clinic.connections["keys"] = Connection("keys", "generic", password=password)
        with pytest.raises(TerminalError, match="connection 'keys': the connection holds no keys"):
            clinic.pull(clinic_contract())
    assert clinic.at_warehouse("select count(*) from ledger.load") == [(0,)]


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (f"update people set email = null, updated_at = now() where ssn = '{CLEAR}-2'", "email is not null"),
        (f"insert into visits values (99, '{CLEAR}-99', null)", "refers to a row of people"),
    ],
)
def test_an_audit_that_fails_shows_no_protected_value(
    clinic: Pipeline, caplog: pytest.LogCaptureFixture, damage: str, rule: str
) -> None:
    clinic.at_source(damage)
    with caplog.at_level(logging.DEBUG), pytest.raises(GateFailed) as caught:
        clinic.pull(clinic_contract())
    assert rule in caplog.text
    failed = "".join(traceback.format_exception(caught.value))
    assert CLEAR not in caplog.text + everything_in(clinic) + failed


def test_the_servers_words_are_not_repeated(clinic: Pipeline) -> None:
    """A view that fails on a value quotes it; the error that reaches a log says what failed without it."""
    clinic.at_source("create view v as select id, ssn, (email::int)::text as email from visits")
    visits = {**VISITS, "table": "public.v", "references": []}
    with pytest.raises(MillraceError) as caught:
        clinic.pull(clinic_contract(visits))
    told = "".join(traceback.format_exception(caught.value))
    assert CLEAR not in told and "may quote a protected value" in told
    # the same stream without protection shows them, so this test would see them
    bare = {**visits, "columns": {name: {"type": rule["type"]} for name, rule in visits["columns"].items()}}
    with pytest.raises(MillraceError, match=CLEAR):
        clinic.pull(contract("bare", [bare]))


#: A column of each carrier, and types that travel as text; each with a value that is easy to get wrong.
TYPES = {
    "boolean": "true",
    "smallint": "-32768",
    "bigint": "9223372036854775807",
    "real": "0.1",
    "double precision": "'-Infinity'",
    "numeric(12,2)": "'NaN'",
    "numeric": "1e-30",
    "date": "'infinity'",
    "timestamp without time zone": "'0044-03-15 12:00 BC'",
    "timestamp with time zone": "'2026-03-29 02:30+01'",
    "text": r"E'Ünï\n\"c\",ödé\t🏭'",
    "character varying(5)": "''",
    "character(4)": "'a'",
    "jsonb": """'{"a": 1.000, "b": null}'""",
    "uuid": "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
    "bytea": r"'\x00ff27'",
    "integer[]": "'{{1,2},{3,NULL}}'",
    "interval": "'-1 mon +2 days'",
    "inet": "'10.0.0.1/8'",
    "money": "'1234.5'",
    "int4range": "'empty'",
}


def test_every_type_is_protected_in_the_text_that_its_server_writes(pipeline: Pipeline) -> None:
    give_keys(pipeline, OLD)
    columns = {f"c{number}": kind for number, kind in enumerate(TYPES)}
    pipeline.at_source(
        "create table all_types (id int primary key, "
        + ", ".join(f"{name} {kind}" for name, kind in columns.items())
        + f"); insert into all_types values (1, {', '.join(TYPES.values())}), (2, {', '.join(['null'] * len(TYPES))})"
    )
    rules = {name: {"type": kind, "protect": "token"} for name, kind in columns.items()}
    stream = {
        "name": "all_types",
        "table": "public.all_types",
        "primary_key": ["id"],
        "mode": "snapshot",
        "columns": {"id": {"type": "integer"}, **rules},
    }
    pipeline.pull(contract("types", [stream], privacy_keys="keys"))
    texts = ", ".join(
        f"{name}::numeric::text" if kind == "money" else f"{name}::text" for name, kind in columns.items()
    )
    (expected,) = pipeline.at_source(f"select {texts} from all_types where id = 1")
    first, second = pipeline.at_warehouse(f"select {', '.join(columns)} from raw_types.all_types order by id")
    keys = read_keys(pipeline.connections["keys"])
    assert tuple(reveal(token, keys) for token in first) == expected
    assert set(second) == {None}


def test_a_new_table_without_deletes_is_not_filled_twice_by_a_rotation(clinic: Pipeline) -> None:
    """Where nothing finds deletes, nothing but this check keeps the old keys from staying beside the new ones."""
    source = clinic_contract({**PEOPLE, "deletes": "none"})
    clinic.pull(source)
    give_keys(clinic, NEW, OLD)
    with pytest.raises(SchemaChanged):
        clinic.pull(source, full_refresh=True)
    assert clinic.at_warehouse("select count(*) from raw_clinic.people") == [(20,)]
