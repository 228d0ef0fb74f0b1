"""Every kind of destination behind one small adapter: make it, break it, read it back. What the conformance suite uses."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from include.activation.records import Record
from include.core.connection import Connection, parse_connection
from include.core.contracts import SyncContract
from tests.support.activation import (
    COLUMNS,
    ContactsServer,
    Crm,
    contacts_server,
    contract,
    crm,
    http_contract,
)
from tests.support.mariadb import MariaDB
from tests.support.proxy import Proxy, proxy

#: An e-mail address that every destination here refuses, by a rule of its own.
REFUSED = "refused"
Row = tuple[Any, ...]


@dataclass
class Target(ABC):
    """A destination that holds contacts, reached through a proxy that can go away."""

    proxy: Proxy

    @abstractmethod
    def contract(self, **changes: Any) -> SyncContract:
        """A sync of the model `contacts` to it; `changes` replace fields."""

    @property
    @abstractmethod
    def connection(self) -> Connection:
        """Of a login that has no more than it needs."""

    @abstractmethod
    def held(self) -> dict[str, Row]:
        """What it holds, by key: the values of COLUMNS; moments in UTC, money as decimals."""

    @abstractmethod
    def touched(self) -> dict[str, Any]:
        """For each key something that changes whenever its record was changed in a way that others see."""

    @abstractmethod
    def unusable(self) -> Iterator[tuple[SyncContract, Connection, str]]:
        """What `check` has to refuse: contract, connection, and a part of the message. It may break the destination."""


class PostgresTarget(Target):
    def __init__(self, admin: str, link: Proxy) -> None:
        super().__init__(link)
        self.database: Crm = crm(admin)
        self.database.execute(f"alter table crm.contacts add check (email <> '{REFUSED}')")
        self.database.execute("grant delete on crm.contacts to crm_writer_of_tests")

    def contract(self, **changes: Any) -> SyncContract:
        return contract(**changes)

    @property
    def connection(self) -> Connection:
        return replace(self.database.connection, host="127.0.0.1", port=self.proxy.port)

    def held(self) -> dict[str, Row]:
        return {row[0]: row for row in self.database.contacts()}

    def touched(self) -> dict[str, Any]:
        return dict(self.database.execute("select external_id, updated_at from crm.contacts"))  # type: ignore[arg-type]

    def unusable(self) -> Iterator[tuple[SyncContract, Connection, str]]:
        goal = {"type": "postgres", "connection": "crm", "table": "crm.contacts", "key": "external_id"}
        here = self.connection
        yield self.contract(destination=goal | {"table": "crm.nothing"}), here, "columns that the destination"
        yield self.contract(mapping=_mapping(tier="segment")), here, "tier"
        yield self.contract(destination=goal | {"key": "email"}, key="email"), here, "not unique"
        yield self.contract(), replace(here, password="wrong"), "authentication failed"
        self.database.execute("revoke update on crm.contacts from crm_writer_of_tests")
        yield self.contract(), here, "may not write"


class MysqlTarget(Target):
    writer = "crm_writer"

    def __init__(self, server: MariaDB, link: Proxy) -> None:
        super().__init__(link)
        self.server = server
        server.run(
            "create or replace database crm character set utf8mb4",
            f"create or replace user {self.writer}@'%' identified by 'päss''wörd'",
            "create table crm.contacts (external_id varchar(60) primary key, email varchar(200), full_name varchar(200),"
            " customer_value decimal(30, 2), segment varchar(20), last_order_at datetime(6), owner varchar(50),"
            f" changes int not null default 0, check (email <> '{REFUSED}'))",
            "create trigger crm.counted before update on crm.contacts for each row"
            " set new.changes = old.changes + (not (new.email <=> old.email and new.full_name <=> old.full_name and"
            " new.customer_value <=> old.customer_value and new.segment <=> old.segment and"
            " new.last_order_at <=> old.last_order_at))",
            f"grant select, insert, update, delete on crm.contacts to {self.writer}@'%'",
        )

    def contract(self, **changes: Any) -> SyncContract:
        goal = {"type": "mysql", "connection": "crm", "table": "crm.contacts", "key": "external_id"}
        return contract(**({"destination": goal} | changes))

    @property
    def connection(self) -> Connection:
        return Connection("crm", "mysql", "127.0.0.1", self.proxy.port, self.writer, "päss'wörd")

    def held(self) -> dict[str, Row]:
        rows = self.server.run("set names utf8mb4", f"select {', '.join(COLUMNS)} from crm.contacts")
        return {row[0]: (*row[:-1], row[-1] and row[-1].replace(tzinfo=timezone.utc)) for row in rows}

    def touched(self) -> dict[str, Any]:
        return dict(self.server.run("select external_id, changes from crm.contacts"))

    def unusable(self) -> Iterator[tuple[SyncContract, Connection, str]]:
        goal = {"type": "mysql", "connection": "crm", "table": "crm.contacts", "key": "external_id"}
        here = self.connection
        yield self.contract(destination=goal | {"table": "crm.nothing"}), here, "columns that the destination"
        yield self.contract(destination=goal | {"table": "contacts"}), here, "does not name a database"
        yield self.contract(mapping=_mapping(tier="segment")), here, "tier"
        yield self.contract(destination=goal | {"key": "email"}, key="email"), here, "not unique"
        yield self.contract(), replace(here, password="wrong"), "Access denied"
        self.server.run(
            "create table crm.computed like crm.contacts",
            "alter table crm.computed drop column segment, add segment varchar(20) as (lower(email))",
            "create table crm.unsafe like crm.contacts",
            "alter table crm.unsafe engine = MyISAM",
            f"grant all on crm.computed to {self.writer}@'%'",
            f"grant all on crm.unsafe to {self.writer}@'%'",
        )
        yield self.contract(destination=goal | {"table": "crm.computed"}), here, "computes"
        yield self.contract(destination=goal | {"table": "crm.unsafe"}), here, "no transactions"
        self.server.run(f"revoke delete on crm.contacts from {self.writer}@'%'")
        yield self.contract(mode="mirror"), here, "DELETE command denied"
        self.server.run(f"revoke update on crm.contacts from {self.writer}@'%'")
        yield self.contract(), here, "UPDATE command denied"


class HttpTarget(Target):
    def __init__(self, server: ContactsServer, link: Proxy) -> None:
        super().__init__(link)
        self.server = server

    def contract(self, **changes: Any) -> SyncContract:
        return http_contract(**changes)

    @property
    def connection(self) -> Connection:
        return replace(self.server.connection, port=self.proxy.port)

    def held(self) -> dict[str, Row]:
        return {key: _row(contact["properties"]) for key, contact in self.server.contacts().items()}

    def touched(self) -> dict[str, Any]:
        return {key: contact["revision"] for key, contact in self.server.contacts().items()}

    def unusable(self) -> Iterator[tuple[SyncContract, Connection, str]]:
        """Of an API one can see before sending no more than whether it is there."""
        yield from ()


@contextmanager
def postgres(admin: str) -> Iterator[Target]:
    with proxy(parse_connection("crm", admin).port or 5432) as link:
        yield PostgresTarget(admin, link)


@contextmanager
def mysql(server: MariaDB) -> Iterator[Target]:
    with proxy(server.port) as link:
        yield MysqlTarget(server, link)


@contextmanager
def http(folder: Path) -> Iterator[Target]:
    with contacts_server(folder) as server, proxy(server.port) as link:
        yield HttpTarget(server, link)


def person(key: str, **changes: Any) -> dict[str, Any]:
    """A contact's values."""
    values = {
        "external_id": key,
        "email": f"{key}@example.com",
        "full_name": f"Person {key}",
        "customer_value": Decimal("1.37"),
        "segment": "vip",
        "last_order_at": datetime(2024, 1, 1, 12, 1, 0, 1, timezone.utc),
    }
    return values | changes


def record(values: dict[str, Any], action: Literal["create", "update", "delete"] = "update") -> Record:
    """A record as the warehouse renders it."""
    if action == "delete":
        values = {"external_id": values["external_id"]}
    body = json.dumps({name: _json(value) for name, value in sorted(values.items())}, ensure_ascii=False)
    return Record(values["external_id"], sha256(body.encode()).digest(), body, action)


def row(values: dict[str, Any]) -> Row:
    """The same as a destination holds it."""
    return tuple(values[name] for name in COLUMNS)


def _json(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    return value.isoformat() if isinstance(value, datetime) else value


def _row(properties: dict[str, Any]) -> Row:
    values = dict(properties)
    if values["customer_value"] is not None:
        values["customer_value"] = Decimal(values["customer_value"])
    if values["last_order_at"] is not None:
        values["last_order_at"] = datetime.fromisoformat(values["last_order_at"])
    return row(values)


def _mapping(**more: str) -> dict[str, str]:
    return {name: name for name in COLUMNS} | more
