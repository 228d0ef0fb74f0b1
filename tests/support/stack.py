"""Throw-away services for tests: a Postgres and an S3 server of their own, gone when the test run ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from include.stack import postgres, s3, secrets
from include.stack.home import Home
from include.stack.ports import LOOPBACK


def free_port() -> int:
    """A TCP port on loopback that nobody uses right now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


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
    def database(self, prefix: str = "test") -> Iterator[str]:
        """A fresh database; yields a superuser's connection URI to it and drops it afterwards."""
        name = f"{prefix}_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.conninfo(), autocommit=True) as admin:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            try:
                yield self.conninfo(name)
            finally:
                admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@dataclass(frozen=True)
class S3Store:
    """A running S3 server with one empty bucket."""

    endpoint_url: str
    access_key: str
    secret_key: str
    bucket: str
    folder: Path


@contextmanager
def postgres_server(home: Home) -> Iterator[PostgresServer]:
    """A server on a free port with its data in `home`; stopped at the end."""
    home.create()
    password = secrets.load_or_create(home.secrets_file)["POSTGRES_SUPERUSER_PASSWORD"]
    who = postgres.initialise(home, password)
    server = PostgresServer(LOOPBACK, free_port(), password)
    command = postgres.server_command(who, server.port, postgres.THROW_AWAY)
    with home.log("postgres").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, **who.options())
    try:
        _wait(
            lambda: psycopg.connect(server.conninfo(), connect_timeout=2).close(),
            process,
            home.log("postgres"),
        )
        yield server
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        postgres.remove(home)


@contextmanager
def s3_server(home: Home) -> Iterator[S3Store]:
    """A server on a free port with its folder in `home`; stopped at the end."""
    home.create()
    keys = secrets.load_or_create(home.secrets_file)
    port = free_port()
    with home.log("s3").open("ab") as log:
        process = subprocess.Popen(
            s3.server_command(port, home.s3),
            env=s3.server_environment(keys["S3_ACCESS_KEY"], keys["S3_SECRET_KEY"]),
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
    store = S3Store(
        s3.endpoint(port), keys["S3_ACCESS_KEY"], keys["S3_SECRET_KEY"], s3.BUCKET, home.s3 / s3.BUCKET
    )
    try:
        _wait(lambda: _answers(store.endpoint_url), process, home.log("s3"))
        yield store
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> None:
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except urllib.error.HTTPError:
        return  # it answers: without a signature the answer is a refusal


def _wait(check, process: subprocess.Popen[bytes], log: Path, seconds: float = 30) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + seconds
    while True:
        try:
            check()
            return
        except (OSError, psycopg.OperationalError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{log.name}: {error}\n{log.read_text()[-2000:]}") from error
            time.sleep(0.05)
