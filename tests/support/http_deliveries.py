"""Deliveries to HTTP APIs without a warehouse: a destination, and records for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from include.activation.destinations import open_destination
from include.activation.destinations.http import HttpApi
from include.activation.records import Record
from include.core.connection import Connection
from tests.support.activation import contract
from tests.support.salesforce_api import EXTERNAL_ID

SALESFORCE = {
    EXTERNAL_ID: "external_id",
    "Email": "email",
    "LastName": "full_name",
    "Value__c": "customer_value",
}


@contextmanager
def opened(connection: Connection, mapping: dict[str, str] | None = None, **target: Any) -> Iterator[HttpApi]:
    names = mapping or {"external_id": "external_id", "email": "email", "full_name": "full_name"}
    key = next(field for field, column in names.items() if column == target.pop("key_column", "external_id"))
    target = {"type": "http", "connection": connection.conn_id, "key": key} | target
    made = contract(destination=target, mapping=names, key=names[key])
    destination = open_destination(made, connection)
    assert isinstance(destination, HttpApi)
    try:
        yield destination
    finally:
        destination.close()


def record(fields: dict[str, Any], key: str, action: Any = "update") -> Record:
    body = json.dumps(fields)
    return Record(key, hashlib.sha256(body.encode()).digest(), body, action)


def person(number: int, **changes: Any) -> Record:
    fields = {"external_id": f"c{number}", "email": f"P{number}@example.com", "full_name": f"Person {number}"}
    return record(fields | changes, f"c{number}")


def contact(number: int, **changes: Any) -> Record:
    fields = {EXTERNAL_ID: f"c{number}", "Email": f"p{number}@example.com", "LastName": f"P {number}"}
    return record(fields | {"Value__c": "1.50"} | changes, f"c{number}")


def without(number: int) -> Record:
    return record({"external_id": f"c{number}"}, f"c{number}", "delete")
