"""Fixtures of the tests that need services but no Airflow."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from include.core.contracts import SourceContract, TransformContract
from include.flows.setup import set_up_warehouse
from include.flows.transform import Transform
from tests.support import clinic as clinics
from tests.support import mariadb
from tests.support import pipeline as pipelines
from tests.support.mariadb import MariaDB
from tests.support.pipeline import PASSWORDS, Pipeline, contract
from tests.support.replays import STREAMS
from tests.support.stack import PostgresServer, S3Store
from tests.support.store import CUSTOMERS, ORDERS
from tests.support.transforms import SHOP


@pytest.fixture(scope="session")
def warehouse(postgres_server: PostgresServer) -> Iterator[str]:
    """The name of a warehouse that was set up, for tests to copy."""
    with postgres_server.database("warehouse") as uri:
        set_up_warehouse(uri, PASSWORDS)
        yield urlsplit(uri).path.lstrip("/")


@pytest.fixture
def pipeline(database: Callable[..., str], warehouse: str, s3_store: S3Store) -> Pipeline:
    """A fresh source database and warehouse."""
    return pipelines.build(database("source"), database("warehouse", warehouse), s3_store)


@pytest.fixture
def shop(pipeline: Pipeline) -> Pipeline:
    pipeline.at_source(
        "create table customers (id int primary key, email text);"
        "create table orders (id int primary key, customer int, total numeric(12,2), note text, extra jsonb,"
        " updated_at timestamptz not null default clock_timestamp());"
        "insert into customers select i, 'c' || i || '@example.com' from generate_series(1, 50) i;"
        "insert into orders (id, customer, total, note, extra)"
        " select i, 1 + i % 50, i / 3.0, nullif('n' || i % 7, 'n3'), jsonb_build_object('n', i::text)"
        " from generate_series(1, 1000) i"
    )
    return pipeline


@pytest.fixture
def both() -> SourceContract:
    return contract(
        "store", [CUSTOMERS, ORDERS | {"references": [{"columns": ["customer"], "stream": "customers"}]}]
    )


@pytest.fixture
def store(shop: Pipeline) -> SourceContract:
    """A source with every kind of stream: snapshot, incremental with tombstones, with removal, and without a key."""
    shop.at_source(
        "create table log (at timestamptz, line text); insert into log values (now(), 'a'), (null, 'a'), (null, 'a');"
        'create table "Re funds" ("order" int, no int, "%(a)s" float8, at timestamptz not null default clock_timestamp(),'
        ' primary key ("order", no));'
        'insert into "Re funds" select i, 1, i / 7.0 from generate_series(1, 300) i'
    )
    return contract("store", STREAMS)


@pytest.fixture(scope="session")
def mariadb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    """A real MariaDB for the whole test run, where one is installed."""
    with mariadb.server(tmp_path_factory.mktemp("mariadb")) as database:
        yield database


@pytest.fixture
def maria(mariadb_server: MariaDB) -> MariaDB:
    """The same with an empty database `shop`."""
    mariadb_server.run("create or replace database shop character set utf8mb4")
    return mariadb_server


@pytest.fixture
def from_maria(pipeline: Pipeline, maria: MariaDB) -> Pipeline:
    """A pipeline that reads the MariaDB server."""
    pipeline.connections["source"] = maria.connection()
    return pipeline


@pytest.fixture
def clinic(pipeline: Pipeline) -> Pipeline:
    """A source with personal data, and the keys that protect it."""
    return clinics.opened(pipeline)


@pytest.fixture
def as_role(pipeline: Pipeline) -> Callable[..., list[tuple[Any, ...]]]:
    """Runs a statement as one of the warehouse's roles."""

    def run(role: str, statement: str) -> list[tuple[Any, ...]]:
        uri = pipeline.connect(f"warehouse_{role}").postgres_uri()
        with psycopg.connect(uri, autocommit=True) as session:
            cursor = session.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    return run


@pytest.fixture
def suites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of suites; those of `one`, `two` and `contacts` ask for a row."""
    for relation in ("marts/one", "marts/two", "activation/contacts"):
        file = tmp_path / "suites" / f"{relation}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            "import great_expectations.expectations as gxe\n"
            "def expectations():\n"
            "    return [gxe.ExpectTableRowCountToBeBetween(min_value=1)]\n"
        )
    monkeypatch.setenv("MILLRACE_SUITES", str(tmp_path / "suites"))
    return tmp_path / "suites"


@pytest.fixture
def build(
    pipeline: Pipeline, as_role: Callable[..., Any], suites: Path, tmp_path: Path
) -> Callable[..., Transform]:
    """`build(run_id, statements)` begins a run, fills its candidate as dbt would, and lets the gate judge each table."""
    columns = {"id": {"config": {"meta": {}}}, "name": {"config": {"meta": {"pii": "direct"}}}}
    model = {"resource_type": "model", "columns": columns}
    model["constraints"] = [{"type": "primary_key", "columns": ["id"]}]
    manifest = tmp_path / "manifest.json"
    schemas = {
        "stg_one": "staging",
        "one": "marts_candidate",
        "two": "marts_candidate",
        "contacts": "activation_candidate",
    }
    nodes = {f"model.shop.{name}": {**model, "name": name, "schema": at} for name, at in schemas.items()}
    manifest.write_text(json.dumps({"nodes": nodes}))

    def run(
        run_id: str, *statements: str, gated: bool = True, contract: TransformContract = SHOP
    ) -> Transform:
        transform = Transform(contract, pipeline.connect, run_id, manifest)
        transform.begin()
        for statement in statements:
            as_role("transformer", statement)
        built = (
            "select split_part(schemaname, '_', 1), tablename from pg_tables where schemaname ~ '_candidate$'"
        )
        for schema, table in pipeline.at_warehouse(built) if gated else ():
            transform.audit(schema, table)
        return transform

    return run
