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
    text = setting(f"AIRFLOW_CONN_{conn_id.upper()}")
    return parse_connection(conn_id, text) if text else None


def setting(variable: str) -> str | None:
    """What this shell, the local stack or the user's `.env` says."""
    return os.environ.get(variable) or _stack().get(variable)


def _stack() -> dict[str, str]:
    """What the local stack and `.env` define; where no stack was ever started, `.env` alone."""
    from include.stack.environment import environment
    from include.stack.home import Home
    from include.stack.secrets import read_env_file

    home = Home.locate()
    return environment(home) if home.secrets_file.exists() else read_env_file(home.env_file)


def find(conn_id: str) -> Connection:
    """The connection, also when it was made in the Airflow UI or lies in a secrets backend.

    :raises ContractError: there is none; says the three ways to define one.
    """
    return from_environment(conn_id) or _from_airflow(conn_id)


def _from_airflow(conn_id: str) -> Connection:
    """Airflow itself is asked: only it knows its metadata database and its secrets backends."""
    variables = _airflow_variables()
    answer = "no Airflow is set up here (millrace up sets one up)"
    if variables is not None:
        done = subprocess.run(
            [sys.executable, "-m", "airflow", "connections", "get", conn_id, "-o", "json"],
            capture_output=True,
            text=True,
            check=False,
            env=variables,
        )
        start = done.stdout.find("[")
        if done.returncode == 0 and start >= 0:
            return parse_connection(conn_id, json.loads(done.stdout[start:])[0]["get_uri"])
        answer = "Airflow says: " + ((done.stderr or done.stdout).strip().splitlines() or ["nothing"])[-1]
    raise ContractError(
        "there is no such connection",
        where=f"connection {conn_id!r}",
        received=f"not in the environment; {answer}",
        allowed="a connection defined in one of three ways:\n"
        f"    1. in .env: AIRFLOW_CONN_{conn_id.upper()}=postgresql://user:password@host:5432/database\n"
        "    2. in the Airflow UI, under Admin > Connections (needs the stack: millrace up)\n"
        "    3. in a secrets backend that airflow.cfg names under [secrets]",
        todo="define it in one of these ways, then run this again",
    )


def _airflow_variables() -> dict[str, str] | None:
    """The environment of the Airflow to ask: the local stack's, or on a server this process's own."""
    from include.stack.environment import process_environment
    from include.stack.home import Home

    if Home.locate().secrets_file.exists():
        return process_environment()
    return dict(os.environ) if "AIRFLOW_HOME" in os.environ else None
