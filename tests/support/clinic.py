"""A clinic, whose patients no test may see in clear where they do not belong, and the keys that protect them."""

from __future__ import annotations

from typing import Any

from include.core.connection import Connection
from include.core.contracts import SourceContract
from tests.support.pipeline import Pipeline, contract

OLD, NEW = "2025:" + "0a" * 32, "2026:" + "1b" * 40
#: Stands in every value that must not be seen.
CLEAR = "Zsófia"

PEOPLE: dict[str, Any] = {
    "name": "people",
    "table": "public.people",
    "primary_key": ["ssn"],
    "mode": "incremental",
    "cursor": "updated_at",
    "deletes": "keys",
    "max_delete_share": 1,
    "columns": {
        "ssn": {"type": "text", "protect": "hash"},
        "email": {"type": "text", "pii": "email", "protect": "token", "not_null": True},
        "name": {"type": "text", "protect": "mask"},
        "updated_at": {"type": "timestamp with time zone"},
    },
}
VISITS: dict[str, Any] = {
    "name": "visits",
    "table": "public.visits",
    "primary_key": ["id"],
    "mode": "snapshot",
    "deletes": "snapshot",
    "references": [{"columns": ["ssn"], "stream": "people"}],
    "columns": {
        "id": {"type": "integer"},
        "ssn": {"type": "text", "protect": "hash"},
        "email": {"type": "text", "protect": "token"},
    },
}


def opened(pipeline: Pipeline) -> Pipeline:
    """The pipeline, with the clinic's tables in its source and the old keys in a connection."""
    pipeline.at_source(
        "create table people (ssn text primary key, email text, name text,"
        " updated_at timestamptz not null default clock_timestamp());"
        "create table visits (id int primary key, ssn text, email text);"
        f"insert into people select '{CLEAR}-' || i, '{CLEAR}' || i || '@example.com', nullif('{CLEAR} ' || i, '{CLEAR} 7')"
        " from generate_series(1, 20) i;"
        "insert into visits select row_number() over (), ssn, email from people where ssn like '%1%'"
    )
    give_keys(pipeline, OLD)
    return pipeline


def give_keys(pipeline: Pipeline, *keys: str) -> None:
    pipeline.connections["keys"] = Connection("keys", "generic", password=" ".join(keys))


def clinic_contract(*streams: dict[str, Any], name: str = "clinic") -> SourceContract:
    return contract(name, list(streams or (PEOPLE, VISITS)), privacy_keys="keys")
