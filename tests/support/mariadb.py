"""A real MariaDB server from the system's packages, on a folder and a port of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql

from include.core.connection import Connection
from include.stack import ports
from tests.support.missing import left_out

#: Of the role that reads, as a user would grant it.
READER, PASSWORD = "reader", "päss'wörd\\"


def programs() -> tuple[str, str] | None:
    """The server and what sets its folder up, where both are installed."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    found = [shutil.which(name, path=path) for name in ("mariadbd", "mariadb-install-db")]
    return (found[0], found[1]) if found[0] and found[1] else None


@dataclass(frozen=True)
class MariaDB:
    """Where the server is."""

    port: int

    def session(
        self, user: str = "root", password: str = "", **options: Any
    ) -> pymysql.connections.Connection[Any]:
        return pymysql.connect(
            host=ports.LOOPBACK,
            port=self.port,
            user=user,
            password=password,
            **({"autocommit": True} | options),
        )

    def run(self, *statements: str) -> tuple[Any, ...]:
        """Run statements as the administrator; the rows of the last one."""
        with closing(self.session()) as session, session.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return tuple(cursor.fetchall())

    def connection(self, user: str = READER, password: str = PASSWORD, **extra: Any) -> Connection:
        return Connection("source", "mysql", ports.LOOPBACK, self.port, user, password, extra=extra)


@contextmanager
def server(folder: Path) -> Iterator[MariaDB]:
    """A server on a fresh folder, ended afterwards. Skips the test where MariaDB is not installed."""
    found = programs()
    if found is None:
        left_out("mariadb", "no MariaDB server is installed (Debian's package: mariadb-server)")
    daemon, install = found
    # root must be told that it may, and gives its files to no other user
    data, user = folder / "data", getpass.getuser()
    common = ["--no-defaults", f"--datadir={data}", f"--user={user}"]
    subprocess.run(
        [install, *common, "--auth-root-authentication-method=normal", "--skip-test-db"],
        check=True,
        capture_output=True,
    )
    with socket.socket() as free:
        free.bind((ports.LOOPBACK, 0))
        port = free.getsockname()[1]
    command = [daemon, *common, f"--port={port}", f"--bind-address={ports.LOOPBACK}"]
    command += [f"--socket={folder / 'socket'}", f"--pid-file={folder / 'pid'}", "--skip-name-resolve"]
    command += ["--innodb-buffer-pool-size=32M", "--innodb-log-file-size=16M"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield _ready(MariaDB(port), process)
        finally:
            process.terminate()


def _ready(database: MariaDB, process: subprocess.Popen[bytes]) -> MariaDB:
    while True:
        try:
            database.run(
                f"create user {READER}@'%' identified by {_literal(PASSWORD)}",
                f"grant select, process on *.* to {READER}@'%'",
            )
        except pymysql.err.OperationalError:
            assert process.poll() is None, "the server has ended"
            time.sleep(0.1)
        else:
            return database


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
