"""What is the files' own: complete by their manifest, each line with its action, and a dead run completed by the next."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from include import activation
from include.activation.destinations import open_destination
from include.activation.records import Record
from tests.support import destinations as kinds
from tests.support.activation import Warehouse, people, warehouse
from tests.support.destinations import S3Target, person, record
from tests.support.stack import S3Store


@pytest.fixture
def target(s3_store: S3Store, tmp_path: Path) -> Iterator[S3Target]:
    with kinds.s3(s3_store, f"out/{tmp_path.name}") as made:
        assert isinstance(made, S3Target)
        yield made


@pytest.fixture
def source(database: Any) -> Warehouse:
    made = warehouse(database("warehouse"))
    made.publish(people(120))
    return made


def manifests(target: S3Target) -> list[dict[str, Any]]:
    """Of complete runs, in their order."""
    return [json.loads(target.read(key)) for key in target.listed() if key.endswith("/_manifest.json")]


def lines(target: S3Target, manifest: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for file in manifest["files"]:
        body = target.read(file["key"])
        assert (len(body), hashlib.sha256(body).hexdigest()) == (file["bytes"], file["sha256"])
        found += [json.loads(line) for line in body.decode().split("\n")[:-1]]
    return found


def test_each_run_adds_what_changed_and_its_manifest_comes_last(source: Warehouse, target: S3Target) -> None:
    def deliver(**changes: Any) -> activation.SyncReport:
        changed = target.contract(mode="mirror", max_delete_share=1, **changes)
        return activation.run(changed, source.connection, target.connection, run_id="test")

    assert deliver().delivered == 120
    assert deliver().delivered == 0
    source.change("update contacts set segment = 'vip!' where external_id = 'c1'")
    source.change("delete from contacts where external_id in ('c2', 'c3')")
    report = deliver(batch_size=1)
    assert (report.delivered, report.deleted) == (1, 2)

    first, second = manifests(target)
    assert [len(lines(target, each)) for each in (first, second)] == [120, 3]
    assert {line["_action"] for line in lines(target, first)} == {"create"}
    assert {(line["external_id"], line["_action"]) for line in lines(target, second)} == {
        ("c1", "update"),
        ("c2", "delete"),
        ("c3", "delete"),
    }
    assert sum(file["rows"] for file in first["files"]) == 120
    assert len(first["files"]) == 3  # a batch each
    model = source.execute("select external_id, segment from activation.contacts")
    assert {key: row[4] for key, row in target.held().items()} == dict(model)


def test_a_run_without_a_manifest_gets_it_from_the_next(target: S3Target) -> None:
    died = open_destination(target.contract(), target.connection)
    died.check()
    died.send([record(person("c1"), "create")])
    assert manifests(target) == []  # nobody reads a run that is not complete
    with closing(open_destination(target.contract(), target.connection)) as following:
        following.check()
        (found,) = manifests(target)
        assert [line["external_id"] for line in lines(target, found)] == ["c1"]
        # What had no answer is sent again: the same line in another run.
        following.send([record(person("c1"), "create"), record(person("c2"), "create")])
    assert [len(lines(target, each)) for each in manifests(target)] == [1, 2]


def test_a_store_that_is_away_at_the_end_costs_nothing(target: S3Target) -> None:
    late = open_destination(target.contract(), target.connection)
    late.check()
    late.send([record(person("c1"), "create")])
    target.proxy.down()
    late.close()
    target.proxy.up()
    assert manifests(target) == []
    with closing(open_destination(target.contract(), target.connection)) as following:
        following.check()
    assert len(manifests(target)) == 1


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_other_formats_hold_every_digit_as_text(target: S3Target, kind: str) -> None:
    values = {
        "external_id": "a\"b,\n'c'",
        "email": "",
        "full_name": None,
        "customer_value": {"z": "TEN"},
        "segment": True,
        "last_order_at": datetime(2024, 1, 1),
    }
    body = record(values | {"last_order_at": None}).body.replace('{"z": "TEN"}', '{"z": 1.10}')
    goal = target.contract().destination.model_dump() | {"format": kind}
    contract = target.contract(destination=goal)
    with closing(open_destination(contract, target.connection)) as opened:
        opened.check()
        opened.send([Record("1", b"", body)])
    (manifest,) = manifests(target)
    found = target.read(manifest["files"][0]["key"])
    assert manifest["fields"] == [*contract.mapping, "_action"]
    if kind == "csv":
        names = ",".join(f'"{name}"' for name in manifest["fields"])
        assert found.decode() == (f'{names}\r\n"a""b,\n\'c\'","",,"{{""z"": 1.10}}","true",,"update"\r\n')
    else:
        (row,) = pq.read_table(io.BytesIO(found)).to_pylist()
        assert row == {
            "external_id": values["external_id"],
            "email": "",
            "full_name": None,
            "customer_value": '{"z": 1.10}',
            "segment": "true",
            "last_order_at": None,
            "_action": "update",
        }
