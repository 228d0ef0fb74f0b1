"""Finding a connection where a user may have defined it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from include.core.connection import Connection, parse_connection
from include.core.errors import ContractError


def from_environment(conn_id: str) -> Connection | None:
    """The connection that this shell, the local stack or the user's `.env` defines; None when none does."""
    from include.stack.environment import environment

    variable = f"AIRFLOW_CONN_{conn_id.upper()}"
    text = os.environ.get(variable) or environment().get(variable)
    return parse_connection(conn_id, text) if text else None


def find(conn_id: str) -> Connection:
    """The connection, also when it was made in the Airflow UI or lies in a secrets backend.

    :raises ContractError: there is none; says the three ways to define one.
    """
    return from_environment(conn_id) or _from_airflow(conn_id)


def _from_airflow(conn_id: str) -> Connection:
    """Airflow itself is asked: only it knows its metadata database and its secrets backends."""
    from include.stack.environment import process_environment

    done = subprocess.run(
        [sys.executable, "-m", "airflow", "connections", "get", conn_id, "-o", "json"],
        capture_output=True,
        text=True,
        check=False,
        env=process_environment(),
    )
    start = done.stdout.find("[")
    if done.returncode == 0 and start >= 0:
        return parse_connection(conn_id, json.loads(done.stdout[start:])[0]["get_uri"])
    answer = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
    raise ContractError(
        "there is no such connection",
        where=f"connection {conn_id!r}",
        received=f"not in the environment; Airflow says: {answer[-1]}",
        allowed="a connection defined in one of three ways:\n"
        f"    1. in .env: AIRFLOW_CONN_{conn_id.upper()}=postgresql://user:password@host:5432/database\n"
        "    2. in the Airflow UI, under Admin > Connections (needs the stack: millrace up)\n"
        "    3. in a secrets backend that airflow.cfg names under [secrets]",
        todo="define it in one of these ways, then run this again",
    )
