"""A warehouse with the demo's rows in raw, and the dbt command line pointed at it."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from include.demo.seed import seed
from include.demo.traffic import generate
from include.stack.home import PROJECT_ROOT
from include.warehouse.bootstrap import ROLES, bootstrap
from tests.support.demo import create_shop
from tests.support.raw_copy import copy_shop_into_raw
from tests.support.stack import PostgresServer

PASSWORD = "only-for-tests"


@dataclass(frozen=True)
class Warehouse:
    """A superuser's connection URI, and how to run dbt against it."""

    superuser: str
    shop: str
    work: Path

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.superuser) as connection:
            return connection.execute(statement.encode()).fetchall()

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.superuser) as connection:
            connection.execute(statement.encode())

    def dbt(self, *arguments: str, developer: str = "anna") -> subprocess.CompletedProcess[str]:
        """The dbt command of this environment, in a shell that knows nothing but the warehouse."""
        place = conninfo_to_dict(self.superuser)
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.work),
            "USER": developer,
            "WAREHOUSE_HOST": str(place["host"]),
            "WAREHOUSE_PORT": str(place["port"]),
            "WAREHOUSE_DBNAME": str(place["dbname"]),
            "WAREHOUSE_DEVELOPER_PASSWORD": PASSWORD,
            "WAREHOUSE_TRANSFORMER_PASSWORD": PASSWORD,
            "DBT_TARGET_PATH": str(self.work / "target"),
            "DBT_LOG_PATH": str(self.work / "logs"),
        }
        return subprocess.run(
            [str(Path(sys.executable).with_name("dbt")), "--no-use-colors", "--warn-error", *arguments],
            cwd=PROJECT_ROOT / "dbt_project",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="session")
def warehouse(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Warehouse]:
    """Raw holds a seeded shop that has seen some traffic. Shared: a test that changes rows puts them back."""
    with postgres_server.database("shop") as shop, postgres_server.database("warehouse") as target:
        source = create_shop(postgres_server, shop)
        # traffic happens now, so history must end now: a gap between them would leave no new customers
        now = dt.datetime.now(dt.timezone.utc)
        seed(source.owner, until=now.date())
        generate(source.owner, transactions=200, long_seconds=0.05)
        bootstrap(target, dict.fromkeys(ROLES, PASSWORD))
        copy_shop_into_raw(shop, target, loaded_at=now)
        yield Warehouse(target, shop, tmp_path_factory.mktemp("dbt"))


@pytest.fixture(scope="session")
def candidate(warehouse: Warehouse) -> Warehouse:
    """The warehouse after a whole `dbt build` of the target prod."""
    built = warehouse.dbt("build", "--target", "prod")
    assert built.returncode == 0, built.stdout
    return warehouse


@pytest.fixture
def changed(candidate: Warehouse) -> Iterator[Callable[[str, str], None]]:
    """`changed(relation, statement)` changes rows of a table now and puts the table back after the test."""
    saved: list[str] = []

    def change(relation: str, statement: str) -> None:
        candidate.execute(
            f"create schema if not exists saved; create table saved.copy_{len(saved)} as table {relation}"
        )
        saved.append(relation)
        candidate.execute(statement)

    yield change
    for number, relation in enumerate(saved):
        copy = f"saved.copy_{number}"
        candidate.execute(f"truncate {relation}; insert into {relation} table {copy}; drop table {copy}")
