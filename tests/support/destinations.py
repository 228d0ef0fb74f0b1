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
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

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
from tests.support.stack import S3Store

#: An e-mail address that every destination here refuses, by a rule of its own.
REFUSED = "refused"
Row = tuple[Any, ...]


@dataclass
class Target(ABC):
    """A destination that holds contacts, reached through a proxy that can go away."""

    #: Whether it refuses REFUSED; files take everything.
    refuses: ClassVar[bool] = True

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

    def end_sessions(self) -> None:
        """End what we have there, as an administrator would."""
        raise NotImplementedError

    @abstractmethod
    def unusable(self) -> Iterator[tuple[SyncContract, Connection, str]]:
        """What `check` has to refuse: contract, connection, and a part of the message. It may break the destination."""


class PostgresTarget(Target):
    def __init__(self, admin: str, link: Proxy) -> None:
        super().__init__(link)
        self.database: Crm = crm(admin)
        self.database.execute(f"alter table crm.contacts add check (email <> '{REFUSED}')")
        self.database.execute("grant delete on crm.contacts to crm_writer_of_tests")
        self.database.execute("alter table crm.contacts add changes int not null default 0")
        self.database.execute(
            "create function crm.count_changes() returns trigger language plpgsql as"
            " $$ begin new.changes := old.changes + 1; return new; end $$;"
            "create trigger counted before update on crm.contacts for each row execute function crm.count_changes()"
        )

    def contract(self, **changes: Any) -> SyncContract:
        return contract(**changes)

    @property
    def connection(self) -> Connection:
        return replace(self.database.connection, host="127.0.0.1", port=self.proxy.port)

    def held(self) -> dict[str, Row]:
        return {row[0]: row for row in self.database.contacts()}

    def touched(self) -> dict[str, Any]:
        return dict(self.database.execute("select external_id, changes from crm.contacts"))  # type: ignore[arg-type]

    def end_sessions(self) -> None:
        self.database.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'crm_writer_of_tests'"
            " and datname = current_database()"
        )

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

    def end_sessions(self) -> None:
        self.server.run(f"kill hard user {self.writer}")

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


class S3Target(Target):
    refuses = False

    def __init__(self, store: S3Store, link: Proxy, prefix: str) -> None:
        super().__init__(link)
        self.store, self.prefix = store, prefix
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=store.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id=store.access_key,
            aws_secret_access_key=store.secret_key,
            config=Config(response_checksum_validation="when_required"),
        )

    def contract(self, **changes: Any) -> SyncContract:
        goal = {"type": "s3", "connection": "files", "prefix": self.prefix, "key": "external_id"}
        return contract(**({"destination": goal} | changes))

    @property
    def connection(self) -> Connection:
        extra = {"bucket": self.store.bucket, "endpoint_url": f"http://127.0.0.1:{self.proxy.port}"}
        return Connection(
            "files", "aws", login=self.store.access_key, password=self.store.secret_key, extra=extra
        )

    def listed(self) -> list[str]:
        listed = self.client.list_objects_v2(Bucket=self.store.bucket, Prefix=self.prefix)
        return [each["Key"] for each in listed.get("Contents", ())]

    def read(self, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket=self.store.bucket, Key=key)["Body"].read())

    def held(self) -> dict[str, Row]:
        """The newest line of each key, as whoever reads the files has it. Also of a run that goes on, for these tests."""
        found: dict[str, Row] = {}
        files = [key for key in self.listed() if key.endswith(".jsonl")]
        for key in sorted(files, key=self._written):
            for line in self.read(key).decode().split("\n")[:-1]:
                values = json.loads(line)
                if values.pop("_action") == "delete":
                    found.pop(values["external_id"], None)
                else:
                    found[values["external_id"]] = _row(values)
        return found

    def touched(self) -> dict[str, Any]:
        return self.held()

    def unusable(self) -> Iterator[tuple[SyncContract, Connection, str]]:
        here = self.connection
        yield self.contract(), replace(here, extra={}), "has no bucket"
        yield self.contract(mapping=_mapping(_action="segment")), here, "a field has the name"
        yield self.contract(), replace(here, password="wrong" * 8), "the store refuses"
        yield self.contract(), replace(here, extra=here.extra | {"bucket": "nothing"}), "NoSuchBucket"

    def _written(self, key: str) -> int:
        """When, more exactly than the store says: it lies in a folder."""
        return (self.store.folder / key).stat().st_mtime_ns


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


@contextmanager
def s3(store: S3Store, prefix: str) -> Iterator[Target]:
    with proxy(urlsplit(store.endpoint_url).port or 80) as link:
        yield S3Target(store, link, prefix)


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
