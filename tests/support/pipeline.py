"""A source database, a warehouse and a landing zone, wired as the flows expect them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

import psycopg

from include.core.connection import Connection, parse_connection
from include.core.contracts import SourceContract
from include.core.interval import Interval
from include.flows import extract, load, publish, reconcile
from include.flows.publish import Published
from include.flows.setup import set_up_warehouse
from include.flows.source_run import SourceRun
from include.warehouse.bootstrap import ROLES
from tests.support.stack import S3Store

PASSWORDS = {role: f"{role} pässword'\"" for role in ROLES}


@dataclass
class Pipeline:
    """Real databases and a real store; `pull` does what the ingest DAG does, in this process."""

    source: str
    warehouse: str
    connections: dict[str, Connection]
    runs: int = field(default=0)

    def connect(self, conn_id: str) -> Connection:
        return self.connections[conn_id]

    def run(self, contract: SourceContract, run_id: str | None = None) -> SourceRun:
        """A run of a source, with an id of its own when none is given."""
        self.runs += 1
        return SourceRun(contract, self.connect, run_id or f"run-{self.runs}")

    def pull(
        self,
        contract: SourceContract,
        interval: Interval | None = None,
        run_id: str | None = None,
        **options: Any,
    ) -> Published:
        """One run: extract, stage, audit, publish, balance, close."""
        run = self.run(contract, run_id)
        load_id = None
        try:
            extraction = extract.extract(
                run, interval or Interval(None, datetime.now(timezone.utc)), **options
            )
            load_id = extraction.load_id
            load.stage(run, load_id, *extraction.streams)
            load.audit(run, load_id, *extraction.streams)
            published = publish.publish(run, load_id)
            publish.balance(run, load_id)
            reconcile.reconcile(run, load_id)
        finally:
            publish.close(run, load_id)
        return published

    def at_source(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return _execute(self.source, statement, parameters)

    def at_warehouse(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return _execute(self.warehouse, statement, parameters)

    def same(self, table: str, raw: str, columns: str) -> bool:
        """Whether a source table and the live rows of its raw table hold the same values, compared as text."""
        ours = self.at_source(f"select ({columns})::text from {table} order by 1")
        theirs = self.at_warehouse(
            f"select ({columns})::text from {raw} where _deleted_at is null order by 1"
        )
        return ours == theirs


def _execute(uri: str, statement: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    with psycopg.connect(uri, autocommit=True) as session:
        session.execute("set timezone = 'UTC'")
        cursor = session.execute(statement.encode(), parameters or None)
        return cursor.fetchall() if cursor.description else []


def build(source: str, warehouse: str, store: S3Store) -> Pipeline:
    """Set the warehouse up, or once more, as an upgrade does, and connect everything."""
    set_up_warehouse(warehouse, PASSWORDS)
    where = urlsplit(warehouse)
    roles = {
        role.replace("millrace_", "warehouse_"): Connection(
            role, "postgres", where.hostname or "", where.port, role, password, where.path.lstrip("/")
        )
        for role, password in PASSWORDS.items()
    }
    landing = Connection(
        "landing",
        "aws",
        login=store.access_key,
        password=store.secret_key,
        extra={"bucket": store.bucket, "endpoint_url": store.endpoint_url},
    )
    return Pipeline(
        source, warehouse, {"source": parse_connection("source", source), "landing": landing, **roles}
    )


def answers(name: str, streams: list[dict[str, Any]]) -> dict[str, Any]:
    """What a source contract says that has an answer to every question."""
    return {
        "source": name,
        "kind": "postgres",
        "connection": "source",
        "description": "test",
        "owner": {"team": "testers", "contact": "testers@example.com"},
        "deadline": {"after_queueing": "1h"},
        "schedule": {"cron": "0 * * * *", "start": "2026-01-01"},
        "keeps": "forever",
        "errors_tolerated": 0,
        "lateness": "0s",
        "upstreams": [],
        "streams": streams,
    }


def contract(name: str, streams: list[dict[str, Any]], **fields: Any) -> SourceContract:
    """A source contract with an answer to every question, for tests to change."""
    return SourceContract.model_validate(answers(name, streams) | fields)
