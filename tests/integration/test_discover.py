"""`millrace discover` on real databases: what it drafts loads, runs, and reads exactly what is there."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from include.cli.main import app
from include.core.connection import parse_connection
from include.core.contracts import SourceContract, load_one
from include.core.errors import ContractError
from include.sources.contract_draft import draft
from include.sources.postgres.discover import discover
from include.stack import postgres
from tests.support.carried import unequal_streams
from tests.support.missing import left_out

NASTY = Path(__file__).with_name("nasty.sql")
TODAY = date(2026, 11, 20)
ROLES = '''
create role {role} login password 'reader';
grant pg_read_all_stats to {role};
grant usage on schema shop, "My ""App""" to {role};
grant select on all tables in schema shop, "My ""App""", hidden to {role};
revoke select on shop.forbidden, shop.partly from {role};
grant select (id) on shop.partly to {role};
'''


@pytest.fixture(scope="module")
def nasty(postgres_server: Any) -> Iterator[tuple[str, str]]:
    """URIs of a database with the nasty schema: of its owner, and of the role that reads."""
    with postgres_server.database("nasty") as uri, psycopg.connect(uri, autocommit=True) as admin:
        admin.execute(NASTY.read_bytes())
        admin.execute(ROLES.format(role='"Odd ""reader"').encode())
        name = uri.rsplit("/", 1)[1]
        reader = f"postgresql://Odd%20%22reader:reader@{postgres_server.host}:{postgres_server.port}/{name}"
        try:
            yield uri, reader
        finally:
            admin.execute('drop owned by "Odd ""reader"; drop role "Odd ""reader"')


def _drafted(uri: str, folder: Path, *schemas: str) -> tuple[SourceContract, str]:
    text = draft(discover(parse_connection("my_db", uri), schemas), "nasty", "my_db", TODAY)
    path = folder / "nasty.yaml"
    path.write_text(text, encoding="utf-8")
    return load_one(SourceContract, path), text


def test_a_nasty_schema_is_drafted_whole(nasty: tuple[str, str], tmp_path: Path) -> None:
    contract, _ = _drafted(nasty[1], tmp_path)
    ways = {stream.name: (stream.mode, stream.deletes, stream.cursor) for stream in contract.streams}
    assert ways == {
        "Table: {with} #all, 100%s": ("incremental", "keys", "updatedAt"),
        'My "App"_orders': ("snapshot", "snapshot", None),
        "no": ("snapshot", "snapshot", None),
        "shop_orders": ("snapshot", "snapshot", None),
        "customers": ("incremental", "keys", "updated_at"),
        "days": ("snapshot", "snapshot", None),
        "events": ("snapshot", "snapshot", None),
        "lines": ("snapshot", "snapshot", None),
        "notes": ("snapshot", "none", None),
        _digested(contract): ("incremental", "keys", "lastModifiedAt"),
        "vehicles": ("snapshot", "none", None),
    }
    assert contract.lateness_or_zero().days == 1  # one cursor has no time zone
    assert set(contract.accepted()) >= {"keeps", "upstreams", "streams.customers.max_rows_per_day"}
    assert {accepted.until for accepted in contract.accepted().values()} == {date(2027, 2, 18)}


def _digested(contract: SourceContract) -> str:
    """`shop.orders` has a namesake, and `shop_orders` is another table: a digest tells them apart."""
    (name,) = [stream.name for stream in contract.streams if stream.table == "shop.orders"]
    assert name.startswith("shop_orders_")
    return name


def test_columns_carry_what_the_catalog_knows(nasty: tuple[str, str], tmp_path: Path) -> None:
    contract, text = _drafted(nasty[1], tmp_path)
    columns = contract.stream("customers").columns
    assert columns["mood"].values == ("ok", "so so", 'it\'s "bad", {really}: #1', "no")
    assert columns["mood"].type == 'shop."Mood"'
    assert columns["email"].not_null
    assert {name: rule.pii for name, rule in columns.items() if rule.pii} == {
        "email": "email",
        "full_name": "name",
        "passwordHash": "credential",
    }
    assert [name for name, rule in columns.items() if rule.ignore] == ["passwordHash", "balance"]
    # what lands in clear asks whether it has to
    advised = [
        line.split(":")[0].strip() for line in text.splitlines() if "protect: mask, hash or token" in line
    ]
    assert "email" in advised and "passwordHash" not in advised
    assert columns["valid_to"].carry == "text"
    assert contract.stream("customers").description == "People: who #buy\nhere"
    assert contract.stream("events").columns["client_ip"].pii == "network address"
    lines = contract.stream("lines").references
    assert [(one.columns, one.stream, one.severity) for one in lines] == [
        (("customer_id", "number"), _digested(contract), "critical")
    ]
    assert "updated_at would be a cursor, but it may be null" in text
    assert "incremental, cursor: received_at, deletes: none" in text


def test_what_is_not_read_stands_there_with_its_reason(nasty: tuple[str, str], tmp_path: Path) -> None:
    _, text = _drafted(nasty[1], tmp_path)
    left_out = text[text.index("# Not read:") :].splitlines()[1:]
    grant = 'grant select on shop.forbidden to "Odd ""reader";'
    assert left_out == [
        '#   hidden.there: the role may not use the schema: grant usage on schema hidden to "Odd ""reader";',
        "#   shop.a_matview: a materialised view: add it by hand (mode: snapshot) when its result is wanted",
        "#   shop.a_view: a view: add it by hand (mode: snapshot) when its result is wanted",
        "#   shop.cars: it inherits from shop.vehicles, which is read with its rows (not its own columns)",
        f"#   shop.forbidden: the role may not read it: {grant}",
        '#   shop.guarded: row-level security hides rows: alter role "Odd ""reader" bypassrls;',
        f"#   shop.partly: the role may read some columns only: {grant.replace('forbidden', 'partly')}",
        "#   shop.empty: it has no columns",
        "#   shop.only_money: it has no column that can be carried",
        "#   3 partitions of shop.days: read through shop.days",
    ]


def test_every_drafted_stream_reads_what_its_table_holds(nasty: tuple[str, str], tmp_path: Path) -> None:
    contract, _ = _drafted(nasty[1], tmp_path)
    assert unequal_streams(contract, nasty[1], nasty[0]) == []


def test_only_the_named_schemas(nasty: tuple[str, str], tmp_path: Path) -> None:
    contract, _ = _drafted(nasty[1], tmp_path, 'My "App"')
    assert [stream.name for stream in contract.streams] == [
        "Table: {with} #all, 100%s",
        "no",
        "orders",
        "shop_orders",
    ]
    with pytest.raises(ContractError, match=r'(?s)no such schema.*shoop.*My "App", hidden, public, shop'):
        discover(parse_connection("my_db", nasty[1]), ["shoop"])


def test_without_sight_of_open_transactions_all_is_read_whole(nasty: tuple[str, str], tmp_path: Path) -> None:
    with psycopg.connect(nasty[0], autocommit=True) as admin:
        admin.execute('revoke pg_read_all_stats from "Odd ""reader"')
        try:
            contract, text = _drafted(nasty[1], tmp_path)
        finally:
            admin.execute('grant pg_read_all_stats to "Odd ""reader"')
    assert {stream.mode for stream in contract.streams} == {"snapshot"}
    assert 'grant pg_read_all_stats to "Odd ""reader";' in text
    assert "incremental by updated_at becomes possible" in text


@pytest.fixture
def command(
    nasty: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[CliRunner, Path]:
    monkeypatch.setenv("MILLRACE_CONTRACTS", str(tmp_path / "contracts"))
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRFLOW_CONN_MY_DB", nasty[1])
    return CliRunner(), tmp_path / "contracts" / "sources" / "nasty.yaml"


def test_the_command_prints_writes_and_overwrites_only_when_forced(command: tuple[CliRunner, Path]) -> None:
    runner, path = command
    base = ["discover", "--conn-id", "my_db", "--name", "nasty"]
    printed = runner.invoke(app, base)
    assert printed.exit_code == 0, printed.output
    assert not path.exists()
    written = runner.invoke(app, [*base, "--write"])
    assert written.exit_code == 0, written.output
    assert "11 streams (3 incremental, 8 snapshot)" in written.output
    assert path.read_text(encoding="utf-8") == printed.stdout
    assert [one.name for one in path.parent.iterdir()] == ["nasty.yaml"]

    decided = path.read_text(encoding="utf-8").replace(
        "    mode: snapshot\n", "    mode: snapshot # mine\n", 1
    )
    path.write_text(decided.replace("- name: customers", "- name: people"), encoding="utf-8")
    before = path.read_bytes()
    refused = runner.invoke(app, [*base, "--write"])
    assert refused.exit_code == 1
    assert "there is a contract already; nothing was written" in refused.output
    assert "the file that is there does not load" in refused.output  # notes refers to customers
    assert path.read_bytes() == before
    forced = runner.invoke(app, [*base, "--write", "--force"])
    assert forced.exit_code == 0, forced.output
    assert path.read_text(encoding="utf-8") == printed.stdout


def test_the_draft_passes_the_check_against_its_database(
    command: tuple[CliRunner, Path], nasty: tuple[str, str]
) -> None:
    runner, path = command
    runner.invoke(app, ["discover", "--conn-id", "my_db", "--name", "nasty", "--write"])
    checked = runner.invoke(app, ["contract", "check", "nasty", "--connect"])
    assert checked.exit_code == 0, checked.output
    assert (
        "checked 1 sources, 0 transforms, 0 syncs, sources against their databases: 0 faults, 0 warnings"
        in (checked.output)
    )
    text = path.read_text(encoding="utf-8").replace("email: {type: text", "email: {type: bytea")
    path.write_text(text.replace("table: shop.events", "table: shop.evnts"), encoding="utf-8")
    checked = runner.invoke(app, ["contract", "check", "--connect"])
    assert checked.exit_code == 1
    line = text.splitlines().index("  - name: customers") + 1
    assert f"{path}:{line}: source 'nasty', stream 'customers'" in checked.output
    assert "column 'email': contract says bytea, source has text" in checked.output
    assert "there is no such table in the source" in checked.output
    assert "2 faults" in checked.output


def test_a_large_table_without_a_cursor_is_read_by_its_transactions_whatever_the_role_may_see(
    command: tuple[CliRunner, Path], nasty: tuple[str, str]
) -> None:
    runner, path = command
    large = (
        "update pg_class set relpages = 20000, reltuples = 1000000 where oid = any (%s::regclass[])"
        " or oid in (select relid from pg_partition_tree('shop.days'))"
    )
    with psycopg.connect(nasty[0], autocommit=True) as admin:
        admin.execute(large, (["shop.events", "shop.notes", "shop.customers"],))
        admin.execute('revoke pg_read_all_stats from "Odd ""reader"')
        try:
            runner.invoke(app, ["discover", "--conn-id", "my_db", "--name", "nasty", "--write"])
            checked = runner.invoke(app, ["contract", "check", "nasty", "--connect"])
        finally:
            admin.execute('grant pg_read_all_stats to "Odd ""reader"')
            admin.execute("analyze shop.events, shop.notes, shop.customers, shop.days")
    assert checked.exit_code == 0, checked.output
    contract, text = load_one(SourceContract, path), path.read_text(encoding="utf-8")
    ways = {stream.name: (stream.mode, stream.deletes, stream.cursor) for stream in contract.streams}
    by_xmin = ("incremental", "keys", "xmin")
    assert ways["events"] == ways["days"] == ways["customers"] == by_xmin
    assert ways["notes"] == ("snapshot", "none", None)  # it has no key
    assert text.count("128 MiB or more") == 3
    assert "incremental by updated_at becomes possible" in text
    assert unequal_streams(contract, nasty[1], nasty[0]) == []


def test_a_connection_that_nobody_defined_teaches_the_three_ways(command: tuple[CliRunner, Path]) -> None:
    runner, _ = command
    result = runner.invoke(app, ["discover", "--conn-id", "nobody", "--name", "x"])
    assert result.exit_code == 1
    for way in ("in .env: AIRFLOW_CONN_NOBODY=", "in the Airflow UI", "in a secrets backend"):
        assert way in result.output


def test_a_name_that_cannot_be_a_source_is_refused_before_anything_is_read(
    command: tuple[CliRunner, Path],
) -> None:
    result = command[0].invoke(app, ["discover", "--conn-id", "my_db", "--name", "../My DB"])
    assert result.exit_code == 1
    assert "lower case letters, digits and underscores" in result.output


@pytest.fixture(scope="module")
def chinook(postgres_server: Any) -> Iterator[str]:
    script = os.environ.get("CHINOOK_SQL")
    if not script or not Path(script).is_file():
        left_out("chinook", "CHINOOK_SQL names no file: the Chinook script for PostgreSQL is needed")
    psql = [
        str(postgres.package_binaries() / "psql"),
        "-q",
        "-v",
        "ON_ERROR_STOP=1",
        postgres_server.conninfo(),
    ]
    # the script drops and creates the database, and connects to it by itself
    subprocess.run([*psql, "-f", script], check=True, capture_output=True)
    yield postgres_server.conninfo("chinook")
    with psycopg.connect(postgres_server.conninfo(), autocommit=True) as admin:
        admin.execute("drop database chinook with (force)")


def test_chinook_has_no_cursor_anywhere_and_reads_equal(chinook: str, tmp_path: Path) -> None:
    contract, _ = _drafted(chinook, tmp_path)
    assert len(contract.streams) == 11
    assert {(stream.mode, stream.deletes, stream.cursor) for stream in contract.streams} == {
        ("snapshot", "snapshot", None)
    }
    assert contract.stream("playlist_track").primary_key == ("playlist_id", "track_id")
    assert {one.stream for one in contract.stream("playlist_track").references} == {"playlist", "track"}
    assert contract.stream("customer").columns["email"].pii == "email"
    assert contract.stream("artist").columns["name"].pii is None
    assert unequal_streams(contract, chinook, chinook) == []
