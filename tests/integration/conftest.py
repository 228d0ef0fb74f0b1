"""Fixtures of the tests that need services but no Airflow."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from include.core.contracts import SourceContract
from tests.support import clinic as clinics
from tests.support import mariadb
from tests.support.mariadb import MariaDB
from tests.support.pipeline import Pipeline, build, contract
from tests.support.replays import STREAMS
from tests.support.stack import S3Store
from tests.support.store import CUSTOMERS, ORDERS


@pytest.fixture
def pipeline(database: Callable[..., str], s3_store: S3Store) -> Pipeline:
    """A fresh source database and warehouse."""
    return build(database("source"), database("warehouse"), s3_store)


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
