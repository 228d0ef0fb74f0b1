"""Services for tests: Postgres and S3, or the whole stack, of their own, gone when the test run ends."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg
import pytest
from psycopg import sql

from include.stack import control, databases, ports, postgres, processes, s3, secrets
from include.stack.environment import process_environment, ui_url
from include.stack.home import PROJECT_ROOT, Home
from include.stack.state import StackState

# what leads Millrace, Airflow, dbt, libpq or an S3 client to systems, settings and accounts of one's own
_YOURS = ("AIRFLOW", "MILLRACE_", "DBT_", "WAREHOUSE_", "PG", "AWS_")


@dataclass(frozen=True)
class PostgresServer:
    """A running server. `conninfo()` is a superuser's connection to any of its databases."""

    host: str
    port: int
    password: str
    superuser: str = postgres.SUPERUSER

    def conninfo(
        self, database: str = "postgres", user: str | None = None, password: str | None = None
    ) -> str:
        return postgres.conninfo(self.port, password or self.password, database, user or self.superuser)

    @contextmanager
    def database(self, prefix: str = "test", template: str = "template1") -> Iterator[str]:
        """A fresh database, or a copy of one; yields a superuser's connection URI to it and drops it afterwards."""
        name = f"{prefix}_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.conninfo(), autocommit=True) as admin:
            admin.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )
            try:
                yield self.conninfo(name)
            finally:
                admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@dataclass(frozen=True)
class S3Store:
    """A running S3 server with one bucket, which is empty at first."""

    endpoint_url: str
    access_key: str
    secret_key: str
    bucket: str
    folder: Path


@dataclass(frozen=True)
class Stack:
    """A running stack, or a part of one. `variables` are what its processes got besides."""

    home: Home
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def ports(self) -> dict[str, int]:
        return ports.remembered(self.home.ports_file)

    @property
    def secrets(self) -> dict[str, str]:
        return secrets.load_or_create(self.home.secrets_file)

    @property
    def url(self) -> str:
        """The web UI; log in as `admin` with `admin_password`."""
        return ui_url(self.home)

    @property
    def admin_password(self) -> str:
        return self.secrets["AIRFLOW_ADMIN_PASSWORD"]

    @property
    def environment(self) -> dict[str, str]:
        """Variables for a child process that works with this stack."""
        return {**process_environment(self.home), **self.variables}

    @property
    def postgres(self) -> PostgresServer:
        return PostgresServer(
            ports.LOOPBACK, self.ports["postgres"], self.secrets["POSTGRES_SUPERUSER_PASSWORD"]
        )

    @property
    def store(self) -> S3Store:
        keys = self.secrets
        endpoint = s3.endpoint(self.ports["s3"])
        folder = self.home.s3 / s3.BUCKET
        return S3Store(endpoint, keys["S3_ACCESS_KEY"], keys["S3_SECRET_KEY"], s3.BUCKET, folder)

    def conninfo(self, role: str) -> str:
        """A connection URI for one of the stack's roles, such as `shop_owner` or `millrace_loader`."""
        return databases.conninfo(role, self.ports["postgres"], self.secrets)

    def listening(self) -> set[tuple[str, int]]:
        """Address and port of every TCP socket on which a process of this stack listens."""
        now = StackState.read(self.home.state_file)
        leaders = [unit.process for unit in now.units.values() if unit.process]
        family = {process for leader in leaders for process in processes.session(leader, self.home)}
        found = set()
        for process in tuple(family):
            with suppress(psutil.NoSuchProcess):  # tasks come and go
                family.update(process.children(recursive=True))
        for process in family:
            with suppress(psutil.NoSuchProcess):
                found.update(
                    c.laddr for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN
                )
        return {(address.ip, address.port) for address in found}

    def millrace(self, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run the command line against this stack, in the project root."""
        return subprocess.run(
            [sys.executable, "-m", "include.cli", *arguments],
            cwd=PROJECT_ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )


@contextmanager
def nothing_of_yours(env_file: Path) -> Iterator[None]:
    """Within it, this process and all that it starts know nothing of the shell's nor of the project's `.env`.

    What stands there are the real systems of whoever runs the tests: their alerts, their CRM, their production.

    :param env_file: an empty file, which takes the place of `.env`.
    """
    env_file.touch()
    with pytest.MonkeyPatch.context() as shell:
        for name in [name for name in os.environ if name.startswith(_YOURS)]:
            shell.delenv(name)
        shell.setenv("MILLRACE_ENV_FILE", str(env_file))
        yield


@contextmanager
def started(home: Home, profile: str = "all", variables: Mapping[str, str] | None = None) -> Iterator[Stack]:
    """A stack in a state directory of its own; stopped at the end, also when this process is killed.

    :param variables: what all its processes get besides, as they would from a shell that exports them.
    """
    try:
        with pytest.MonkeyPatch.context() as shell:
            for name, value in (variables or {}).items():
                shell.setenv(name, value)
            control.up(home, profile=profile, watch=os.getpid())
        yield Stack(home, variables or {})
    finally:
        control.down(home, lambda _line: None)
        postgres.remove(home)
