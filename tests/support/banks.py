"""The busy bank behind four DAGs of a running stack, one for each way of reading it."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from tests.support import bank
from tests.support.lifecycle import Lifecycle
from tests.support.own_sources import let_read
from tests.support.pipeline import answers

DATABASE = "bank"
_RIGHT = "alter role {} replication"


def open_bank(lifecycle: Lifecycle) -> None:
    """The bank's database, a contract for each way of reading it, and the slot of the one that reads its log."""
    stack = lifecycle.stack
    with psycopg.connect(stack.postgres.conninfo(), autocommit=True) as admin:
        admin.execute("create database bank")
    with psycopg.connect(stack.postgres.conninfo(DATABASE), autocommit=True) as owner:
        owner.execute(bank.SCHEMA.encode())
    let_read(stack, DATABASE, "public")
    for way in bank.WAYS:
        text = answers(source_of(way), bank.streams(way)) | {
            "connection": DATABASE,
            "schedule": {"cron": "0 0 1 1 *", "start": f"{datetime.now(timezone.utc):%Y}-01-01"},
            "retry": {"attempts": 20, "delay": "1s"},
            "reconcile": "0s",
        }
        # JSON is YAML too
        file = lifecycle.contracts / "sources" / f"{source_of(way)}.yaml"
        file.write_text(json.dumps(text), encoding="utf-8")
    _make_slot(lifecycle)


def source_of(way: str) -> str:
    return f"bank_{way}"


def dag_of(way: str) -> str:
    return f"ingest__{source_of(way)}"


def _make_slot(lifecycle: Lifecycle) -> None:
    """As a person would: by the command, and where the role may not, by the statement that the command prints."""
    role = urlsplit(lifecycle.stack.variables["AIRFLOW_CONN_BANK"]).username
    with psycopg.connect(lifecycle.stack.postgres.conninfo(DATABASE), autocommit=True) as admin:
        admin.execute(sql.SQL(_RIGHT).format(sql.Identifier(str(role))))
        refused = lifecycle.stack.millrace("slot", "create", source_of("log"))
        assert refused.returncode != 0, refused.stdout
        told = re.search(r"create publication [^;]+;", refused.stdout + refused.stderr)
        assert told, refused.stdout + refused.stderr
        admin.execute(told[0].encode())
    made = lifecycle.stack.millrace("slot", "create", source_of("log"))
    assert made.returncode == 0, made.stdout + made.stderr
