"""A warehouse with one activation model, and destinations: what tests of reverse ETL use."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from include.activation.schema import STATE_DDL
from include.core.connection import Connection, parse_connection
from include.core.contracts import SyncContract
from include.demo.crm import install
from include.warehouse.bootstrap import ROLES, bootstrap

TOKEN = "token-of-the-test"
ADMIN_TOKEN = "admin-token-of-the-test"
_PASSWORDS = {role: f"password of {role}" for role in ROLES}
#: The model's columns, and those of `crm.contacts` that a sync fills.
COLUMNS = ("external_id", "email", "full_name", "customer_value", "segment", "last_order_at")


@dataclass
class Warehouse:
    """A bootstrapped warehouse. `admin` is a superuser's URI, `connection` that of the role that delivers."""

    admin: str
    connection: Connection

    def execute(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return execute(self.admin, query, *values)

    def publish(self, select: str, version: str = "v1") -> None:
        """Make the activation model a view of a table that holds what `select` gives, as publishing does."""
        self.execute(f"create schema if not exists activation_{version}")
        self.execute(f"drop table if exists activation_{version}.contacts cascade")
        self.execute(f"create table activation_{version}.contacts as {select}")
        self.execute("create schema if not exists activation")
        self.execute(
            f"create or replace view activation.contacts as select * from activation_{version}.contacts"
        )
        self.execute("grant usage on schema activation to millrace_activator")
        self.execute("grant select on activation.contacts to millrace_activator")

    def change(self, statement: str) -> None:
        """Change the published table, as another publication would."""
        self.execute(statement.replace("contacts", "activation_v1.contacts", 1))

    def records(self) -> dict[str, tuple[Any, ...]]:
        """Status, attempts and reason by key."""
        rows = self.execute("select record_key, status, attempts, reason from ledger.sync_record")
        return {row[0]: row[1:] for row in rows}

    def runs(self) -> list[dict[str, Any]]:
        rows = self.execute("select to_jsonb(r) from ledger.sync_run r order by sync_run_id")
        return [row[0] for row in rows]


def warehouse(admin: str) -> Warehouse:
    """Bootstrap a database as a warehouse, with the state of reverse ETL."""
    bootstrap(admin, _PASSWORDS, (STATE_DDL,))
    return Warehouse(
        admin, login(admin, "millrace_activator", _PASSWORDS["millrace_activator"], "warehouse_activator")
    )


def people(count: int) -> str:
    """A query that gives so many contacts, the first with key `c1`."""
    return f"""
        select 'c' || i as external_id, 'p' || i || '@example.com' as email, 'Person ' || i as full_name,
            (i * 1.37)::numeric(14, 2) as customer_value, (array['vip', 'new', 'lost'])[1 + i % 3] as segment,
            timestamptz '2024-01-01 12:00+00' + i * interval '1 minute 0.000001 s' as last_order_at
        from generate_series(1, {count}) i"""


def execute(uri: str, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(uri, autocommit=True) as session:
        cursor = session.execute(query.encode(), values or None)
        return cursor.fetchall() if cursor.description else []


def login(admin: str, role: str, password: str, conn_id: str) -> Connection:
    """The connection of a role to the database of an administrator's URI."""
    base = parse_connection(conn_id, admin)
    return Connection(conn_id, "postgres", base.host, base.port, role, password, base.schema, base.extra)


def contract(**changes: Any) -> SyncContract:
    """A sync of the model to `crm.contacts`; `changes` replace fields."""
    data: dict[str, Any] = {
        "sync": "contacts",
        "description": "Contacts of the test.",
        "owner": {"team": "tests", "contact": "tests@example.com"},
        "deadline": {"after_queueing": "10m"},
        "transform": "shop",
        "model": "contacts",
        "key": "external_id",
        "destination": {
            "type": "postgres",
            "connection": "crm",
            "table": "crm.contacts",
            "key": "external_id",
        },
        "mapping": {name: name for name in COLUMNS},
        "batch_size": 50,
    }
    return SyncContract.model_validate(data | changes)


def http_contract(**changes: Any) -> SyncContract:
    """The same sync to the contacts API; `concurrency`, `declaration` and the like go to the destination."""
    target = {
        "type": "http",
        "connection": "contacts_api",
        "path": "/v1/contacts/batch/upsert",
        "key": "external_id",
    }
    for name in ("concurrency", "timeout_seconds", "path", "rate_limit"):
        if name in changes:
            target[name] = changes.pop(name)
    if "declaration" in changes:
        target["api"] = changes.pop("declaration")
    return contract(destination=target, **changes)


@dataclass
class Crm:
    """A database with `crm.contacts`, and the login that may write there."""

    admin: str
    connection: Connection

    def execute(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return execute(self.admin, query, *values)

    def contacts(self) -> set[tuple[Any, ...]]:
        return set(self.execute(f"select {', '.join(COLUMNS)} from crm.contacts"))


def crm(admin: str) -> Crm:
    """Make the demo's CRM in a database, with a login that has no more than it needs."""
    with psycopg.connect(admin) as session:
        if not session.execute("select 1 from pg_roles where rolname = 'crm_writer_of_tests'").fetchone():
            session.execute("create role crm_writer_of_tests login password 'writes'")
    install(admin, writer="crm_writer_of_tests")
    return Crm(admin, login(admin, "crm_writer_of_tests", "writes", "crm"))


@dataclass
class ContactsServer:
    """The contacts API in a process of its own. The file, and so its contacts, outlive a restart."""

    folder: Path
    arguments: tuple[str, ...] = ()
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def connection(self) -> Connection:
        return Connection("contacts_api", "http", "127.0.0.1", self.port, password=TOKEN)

    def start(self) -> None:
        self.port = self.port or free_port()
        command = [sys.executable, "-m", "tests.support.contacts_api", "--port", str(self.port)]
        command += [
            "--db",
            str(self.folder / "contacts.sqlite3"),
            "--token",
            TOKEN,
            "--admin-token",
            ADMIN_TOKEN,
        ]
        self.process = subprocess.Popen([*command, *self.arguments], cwd=Path(__file__).parents[2])
        deadline = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2).close()
                return
            except OSError:
                assert self.process.poll() is None, "the contacts API ended"
                assert time.monotonic() < deadline, "the contacts API does not start"
                time.sleep(0.05)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def fault(self, kind: str, **settings: Any) -> dict[str, Any]:
        return self._call("/admin/faults", ADMIN_TOKEN, {"kind": kind, **settings})

    def requests(self) -> int:
        """How many upserts it was asked for."""
        return int(self.fault("none", times=0)["requests"])

    def contacts(self) -> dict[str, dict[str, Any]]:
        """All contacts by id, read page by page."""
        found: dict[str, dict[str, Any]] = {}
        after = ""
        while True:
            page = self._call(f"/v1/contacts?limit=1000&after={after}", TOKEN)
            found |= {contact["id"]: contact for contact in page["results"]}
            if "paging" not in page:
                return found
            after = page["paging"]["next"]["after"]

    def _call(self, path: str, token: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            answer: dict[str, Any] = json.load(response)
            return answer


@contextmanager
def contacts_server(folder: Path, *arguments: str) -> Iterator[ContactsServer]:
    """A running contacts API, stopped in the end."""
    server = ContactsServer(folder, arguments)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def deliverer(contract: SyncContract, source: Connection, target: Connection) -> subprocess.Popen[bytes]:
    """A process that delivers the sync once."""
    settings = {
        "contract": contract.model_dump(mode="json", exclude={"alerts", "deadline", "retry", "task_timeout"}),
        "connections": [_as_json(source), _as_json(target)],
    }
    command = [sys.executable, "-c", _DELIVER, json.dumps(settings)]
    return subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)


def deliver_and_kill(contract: SyncContract, source: Warehouse, target: Connection, delay: float) -> None:
    """Kill a delivery some seconds after its first answer was kept; return when its session is gone."""
    answered = "select count(*) from ledger.sync_record where acknowledged is not null"
    before = source.execute(answered)
    process = deliverer(contract, source.connection, target)
    try:
        wait_for(lambda: source.execute(answered) > before)
        time.sleep(delay)
    finally:
        process.kill()
        process.wait()
    sessions = "select 1 from pg_stat_activity where usename = 'millrace_activator'"
    wait_for(lambda: not source.execute(sessions))


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def _as_json(connection: Connection) -> str:
    names = ("conn_type", "host", "port", "login", "password", "schema", "extra")
    return json.dumps({name: getattr(connection, name) for name in names})


_DELIVER = """
import json, sys
from include import activation
from include.core.connection import parse_connection
from include.core.contracts import SyncContract
settings = json.loads(sys.argv[1])
contract = SyncContract.model_validate(settings["contract"] | {"deadline": {"after_queueing": "10m"}})
names = ("warehouse", contract.destination.connection)
source, target = map(parse_connection, names, settings["connections"])
activation.run(contract, source, target, run_id="subprocess")
"""
