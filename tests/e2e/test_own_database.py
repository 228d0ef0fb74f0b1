"""Bring your own database: from its connection to raw tables that hold what its tables hold, in three commands."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from include.stack import postgres
from tests.support.lifecycle import Lifecycle
from tests.support.missing import left_out
from tests.support.own_sources import let_read

NASTY = Path(__file__).parents[1] / "integration" / "nasty.sql"


@pytest.fixture(scope="module")
def chinook(lifecycle: Lifecycle) -> str:
    """A music shop's database as its makers give it away: no `updated_at` anywhere, and keys of two columns."""
    script = os.environ.get("CHINOOK_SQL")
    if not script or not Path(script).is_file():
        left_out("chinook", "CHINOOK_SQL names no file: the Chinook script for PostgreSQL is needed")
    psql = str(postgres.package_binaries() / "psql")
    # the script creates the database, and connects to it by itself
    subprocess.run(
        [psql, "-q", "-v", "ON_ERROR_STOP=1", lifecycle.stack.postgres.conninfo(), "-f", script],
        check=True,
        capture_output=True,
    )
    let_read(lifecycle.stack, "chinook", "public")
    return "chinook"


@pytest.fixture(scope="module")
def nasty(lifecycle: Lifecycle) -> Iterator[str]:
    """Names of any spelling, tables without keys, enums, arrays, partitions, types that no file format has."""
    with psycopg.connect(lifecycle.stack.postgres.conninfo(), autocommit=True) as admin:
        admin.execute("create database nasty")
    with psycopg.connect(lifecycle.stack.postgres.conninfo("nasty"), autocommit=True) as owner:
        owner.execute(NASTY.read_bytes())
        yield "nasty"


def _discovered(lifecycle: Lifecycle, name: str) -> None:
    """Draft the contract, check it, run it: as the README says."""
    for command in (
        ("discover", "--conn-id", name, "--name", name, "--write"),
        ("contract", "check", name, "--connect"),
        ("run", f"ingest__{name}", "--wait"),
    ):
        done = lifecycle.stack.millrace(*command, timeout=600)
        assert done.returncode == 0, (command, done.stdout, done.stderr)


def test_chinook_arrives_whole_and_stays_equal(chinook: str, lifecycle: Lifecycle) -> None:
    _discovered(lifecycle, chinook)
    assert len(lifecycle.contract(chinook).streams) == 11
    assert lifecycle.unequal(chinook) == []
    assert lifecycle.value("warehouse", "select count(*) from raw_chinook.playlist_track") > 8000

    lifecycle.at(
        chinook, "update track set unit_price = unit_price + 1, composer = null where track_id % 7 = 0"
    )
    lifecycle.at(chinook, "delete from playlist_track where playlist_id = 5")  # a key of two columns
    lifecycle.at(chinook, "delete from invoice_line where invoice_id < 20")
    lifecycle.at(chinook, "insert into genre values (26, 'Ünïcode, \"quoted\"\n')")
    lifecycle.at(chinook, "update customer set email = upper(email) where customer_id < 10")
    again = lifecycle.stack.millrace("run", "ingest__chinook", "--wait", "-p", "compare=true", timeout=600)
    assert again.returncode == 0, again.stdout + again.stderr
    assert lifecycle.unequal(chinook) == []
    assert lifecycle.twice(chinook) == []
    gone = "select count(*) from raw_chinook.playlist_track where _deleted_at is not null and playlist_id = 5"
    assert lifecycle.value("warehouse", gone) > 0
    shown = lifecycle.stack.millrace("ledger", "chinook")
    assert shown.stdout.count("balance") == 11, shown.stdout


@pytest.mark.long
def test_a_nasty_database_arrives_whole_and_stays_equal(nasty: str, lifecycle: Lifecycle) -> None:
    let_read(lifecycle.stack, nasty, "shop", 'My "App"')
    _discovered(lifecycle, nasty)
    assert lifecycle.unequal(nasty) == []

    lifecycle.at(
        nasty,
        "update shop.customers set mood = 'so so', valid_to = '-infinity', note = E'a\\\\\\tb' where id < 9",
    )
    lifecycle.at(nasty, "delete from shop.customers where id > 40")
    lifecycle.at(nasty, "insert into shop.notes (customer_id, \"text\") values (1, 'twice'), (1, 'twice')")
    lifecycle.at(nasty, "insert into shop.days values (1, '2026-02-28')")
    lifecycle.at(nasty, 'update "My ""App""".orders set "Ünïcödé 🏭" = \'🏭\', "%s %(a)s" = null')
    run = lifecycle.done("ingest__nasty", compare=True)
    assert run.state == "success", lifecycle.states(run)
    compared = (
        "select count(*), sum(differing) from ledger.reconciliation join ledger.load using (load_id)"
        " where source = %s"
    )
    assert lifecycle.at("warehouse", compared, nasty) == [(len(lifecycle.contract(nasty).streams), 0)]
    assert lifecycle.unequal(nasty) == []
    assert lifecycle.twice(nasty) == []
