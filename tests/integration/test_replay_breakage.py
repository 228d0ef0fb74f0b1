"""A replay that cannot end leaves raw as it was: damaged parts, a lost lease, a killed process, a user who says no."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
import yaml

from include.core.connection import Connection
from include.core.contracts import SourceContract
from include.core.errors import (
    LeaseHeld,
    NotLanded,
    StaleLoad,
)
from include.core.interval import Interval
from include.flows.extract import extract
from include.flows.publish import close
from include.flows.replay import Replay
from include.flows.replay_plan import Scope
from include.stack.home import PROJECT_ROOT
from tests.support.lifecycle import until
from tests.support.pipeline import Pipeline, answers
from tests.support.replays import STREAMS, image, lived, replayed
from tests.support.stack import S3Store
from tests.support.store import COLUMNS


def s3(store: S3Store) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=store.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
    )


@pytest.mark.parametrize("harm", ["missing", "damaged", "no manifest"])
def test_a_part_that_is_missing_or_damaged_stops_it_before_anything_changed(
    shop: Pipeline, store: SourceContract, s3_store: S3Store, harm: str
) -> None:
    loads = lived(shop, store)
    shop.at_warehouse("delete from raw_store.orders where id < 100; delete from raw_store.customers")
    before = image(shop, store)
    ((key,),) = shop.at_warehouse("select manifest from ledger.load where load_id = %s", loads[2])
    client = s3(s3_store)
    if harm != "no manifest":
        listed = json.loads(client.get_object(Bucket=s3_store.bucket, Key=key)["Body"].read())
        key = next(one for one in listed["streams"] if one["stream"] == "orders")["parts"][0]["key"]
    kept = client.get_object(Bucket=s3_store.bucket, Key=key)["Body"].read()
    client.delete_object(Bucket=s3_store.bucket, Key=key)
    if harm == "damaged":
        client.put_object(Bucket=s3_store.bucket, Key=key, Body=kept[:-9] + b"x" * 9)
    with pytest.raises(NotLanded, match=key):
        replayed(shop, store)
    assert image(shop, store) == before
    assert shop.at_warehouse("select status from ledger.load where kind = 'replay'") == [("failed",)]
    assert shop.at_warehouse("select 1 from pg_tables where schemaname = 'staging_batches'") == []
    client.put_object(Bucket=s3_store.bucket, Key=key, Body=kept)
    replayed(shop, store)
    assert shop.same("orders", "raw_store.orders", COLUMNS)


def test_no_run_loads_the_source_meanwhile_and_whoever_lost_its_turn_writes_nothing(
    shop: Pipeline, store: SourceContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived(shop, store)
    now = Interval(None, datetime.now(timezone.utc))
    busy = shop.run(store, "busy")
    landed = extract(busy, now)
    with pytest.raises(LeaseHeld, match="'busy'"):
        replayed(shop, store)
    close(busy, landed.load_id)
    shop.at_warehouse("delete from raw_store.orders")

    def another(line: str) -> None:
        if line.startswith("orders: into raw"):
            return
        if line.startswith("orders"):
            with pytest.raises(LeaseHeld, match="'replay'"):
                extract(shop.run(store, "too early"), now)
            shop.at_warehouse("update ledger.lease set expires_at = now() - interval '1 second'")
            extract(shop.run(store, "replacement"), now)

    with pytest.raises(StaleLoad):
        Replay(shop.run(store, "replay"), Scope(), another).replay()
    assert shop.at_warehouse("select count(*) from raw_store.orders") == [(0,)]
    assert shop.at_warehouse("select run_id from ledger.lease") == [("replacement",)]


def on_the_command_line(pipeline: Pipeline, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """`millrace` with these arguments, where this source and its connections are known."""
    file = folder / "contracts" / "sources" / "store.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(answers("store", STREAMS)), encoding="utf-8")
    variables = {f"AIRFLOW_CONN_{name.upper()}": _as_json(one) for name, one in pipeline.connections.items()}
    return subprocess.Popen(
        [sys.executable, "-m", "include.cli", *arguments],
        cwd=PROJECT_ROOT,
        env={
            **os.environ,
            **variables,
            "MILLRACE_HOME": str(folder),
            "MILLRACE_CONTRACTS": str(file.parents[1]),
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _as_json(one: Connection) -> str:
    return json.dumps(
        {
            "conn_type": one.conn_type, "host": one.host, "port": one.port, "login": one.login,
            "password": one.password, "schema": one.schema, "extra": one.extra,
        }
    )  # fmt: skip


def test_killed_before_it_commits_it_has_changed_nothing_and_is_done_again(
    shop: Pipeline, store: SourceContract, tmp_path: Path
) -> None:
    lived(shop, store)
    whole = image(shop, store)
    shop.at_warehouse(
        "delete from raw_store.orders where id < 500; update raw_store.customers set email = 'bad'"
    )
    damaged = image(shop, store)
    shop.at_warehouse(
        "create function public.hold() returns trigger language plpgsql as $$ begin"
        " perform pg_advisory_xact_lock_shared(4711); return new; end $$;"
        "create trigger hold before update on ledger.load for each row"
        " when (new.kind = 'replay' and new.status = 'published')"
        " execute function public.hold()"
    )
    command = ("replay", "store", "--yes")
    at_gate = (
        "select granted from pg_locks where locktype = 'advisory' and objid = 4711 and mode = 'ShareLock'"
        " and database = (select oid from pg_database where datname = current_database())"
    )
    with (
        on_the_command_line(shop, tmp_path, *command) as first,
        psycopg.connect(shop.warehouse, autocommit=True) as gate,
    ):
        gate.execute("select pg_advisory_lock(4711)")
        until(
            lambda: first.poll() is not None or shop.at_warehouse(at_gate) == [(False,)],
            "the replay to have done all but its commit",
        )
        first.send_signal(signal.SIGKILL)
    assert first.returncode == -signal.SIGKILL
    until(lambda: not shop.at_warehouse(at_gate), "the killed replay's transaction to end")
    assert image(shop, store) == damaged
    with on_the_command_line(shop, tmp_path, *command) as second:
        said = second.communicate()[0]
    assert (second.returncode, "another run is loading this source" in said, "'replay__" in said) == (
        1,
        True,
        True,
    )
    assert image(shop, store) == damaged
    shop.at_warehouse("update ledger.lease set expires_at = now() - interval '1 second'")
    with on_the_command_line(shop, tmp_path, *command) as third:
        said = third.communicate()[0]
    assert third.returncode == 0, said
    assert "raw_store.orders" in said and "has changed" in said
    assert image(shop, store) == whole
    assert shop.at_warehouse("select status from ledger.load where kind = 'replay' order by load_id") == [
        ("superseded",),
        ("published",),
    ]
    assert shop.at_warehouse("select 1 from pg_tables where schemaname = 'staging_batches'") == []


def test_the_command_shows_what_it_would_do_and_asks_first(
    shop: Pipeline, store: SourceContract, tmp_path: Path
) -> None:
    loads = lived(shop, store)
    shop.at_warehouse("delete from raw_store.orders where id < 500")
    damaged = image(shop, store)

    def said(*arguments: str, answer: str = "") -> tuple[int, str]:
        with on_the_command_line(shop, tmp_path, *arguments) as process:
            output = process.communicate(answer)[0]
        return process.returncode, output

    code, output = said("replay", "store", "--stream", "orders", "--dry-run")
    ((rows,),) = shop.at_warehouse("select sum(landed)::int from ledger.load_stream where stream = 'orders'")
    live = len([1 for (row,) in damaged["orders"] if row.endswith(",)")])
    assert code == 0 and "Change raw_store" not in output
    line = next(line.split() for line in output.splitlines() if line.startswith("raw_store.orders"))
    assert line[:8] == ["raw_store.orders", "all", "rows", str(loads[0]), "to", str(loads[-1]), "5", line[7]]
    assert f"{rows:,}" in line and f"{live:,}" in line
    code, output = said("replay", "store", answer="n\n")
    assert code == 1 and "Change raw_store" in output
    assert (
        image(shop, store) == damaged
        and shop.at_warehouse("select 1 from ledger.load where kind = 'replay'") == []
    )
    code, output = said("replay", "store", answer="y\n")
    assert code == 0 and "raw has changed" in output
    code, output = said("replay", "store", "--yes")
    assert code == 0 and "raw is what it was before" in output
    code, output = said("ledger", "store")
    assert code == 0 and output.count("replayed") == 4 and output.count("balance") == 4
    code, output = said("replay", "store", "--since", "soon")
    assert code == 2 and "2026-03-01" in output
    code, output = said("replay", "shop")
    assert code == 1 and "allowed:  store" in output
    code, output = said("schema", "store", "orders")
    assert code == 0 and f"loads {loads[0]} to {loads[-1]}" in output and "  total numeric(12,2)" in output
