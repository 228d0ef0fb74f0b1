"""A source on a server of its own, for tests that restore, promote or crash it."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from signal import SIGINT, Signals

import psycopg

from include.core.connection import parse_connection
from include.stack import ports, postgres
from tests.support.pipeline import Pipeline


def lead_to(pipeline: Pipeline, uri: str) -> None:
    """From now on the pipeline reads this database."""
    pipeline.source, pipeline.connections["source"] = uri, parse_connection("source", uri)


@contextmanager
def server(who: postgres.Account, end: Signals = SIGINT, **settings: str) -> Iterator[str]:
    """A server on what its folder holds, ended with this signal: SIGINT is a clean stop, SIGQUIT a crash. Yields a
    superuser's URI."""
    with socket.socket() as free:
        free.bind((ports.LOOPBACK, 0))
        port = free.getsockname()[1]
    command = postgres.server_command(who, port, postgres.THROW_AWAY | settings)
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, **who.options()) as process:
        try:
            yield _reached(postgres.conninfo(port, "secret"), process)
        finally:
            process.send_signal(end)


def _reached(uri: str, process: subprocess.Popen[bytes]) -> str:
    while True:
        try:
            psycopg.connect(uri).close()
        except psycopg.OperationalError:
            assert process.poll() is None, "the server has ended"
            time.sleep(0.1)
        else:
            return uri


def at_server(who: postgres.Account, *command: str) -> None:
    """Run a command in the folder that holds the server's `data`, as its user."""
    subprocess.run([*who.prefix, *command], check=True, **who.options())
