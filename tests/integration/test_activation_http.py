"""Reverse ETL to an HTTP API: its word about each record is kept, and what has none is sent again."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from include import activation
from include.core.errors import ContractError, TerminalError, TransientError, Unreachable
from tests.support.activation import (
    COLUMNS,
    TOKEN,
    ContactsServer,
    Warehouse,
    contacts_server,
    deliver_and_kill,
    deliverer,
    free_port,
    http_contract,
    people,
    wait_for,
    warehouse,
)

QUICK = activation.Backoff(tries=6, first=0.02, longest=0.1, patience=10)


@pytest.fixture
def source(database: Callable[..., str]) -> Warehouse:
    made = warehouse(database("warehouse"))
    made.publish(people(1000))
    return made


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ContactsServer]:
    with contacts_server(tmp_path) as server:
        yield server


def deliver(source: Warehouse, api: ContactsServer, **changes: object) -> activation.SyncReport:
    return activation.run(
        http_contract(**changes), source.connection, api.connection, run_id="test", backoff=QUICK
    )


def declaration(**changes: dict[str, object]) -> dict[str, object]:
    """The API written out in the contract; `changes` replace fields of its requests."""
    shape: dict[str, dict[str, object]] = {
        "upsert": {
            "path": "/v1/contacts/batch/upsert",
            "body": {"records": "{records}"},
            "record": {"id": "{key}", "properties": "{record}"},
            "reply": {"results": "results", "id": ["id"], "error": "error"},
        }
    }
    return shape | {name: shape.get(name, {}) | fields for name, fields in changes.items()}


def model(source: Warehouse, where: str = "true") -> dict[str, dict[str, object]]:
    """The records as the API shall hold them: decimals as text, times in ISO 8601."""
    columns = ", ".join(f"{name}::text" if name == "customer_value" else name for name in COLUMNS)
    rows = source.execute(
        f"select row_to_json(r) from (select {columns} from activation.contacts where {where}) r"
    )
    return {row["external_id"]: row for (row,) in rows}


def held(api: ContactsServer) -> dict[str, dict[str, object]]:
    contacts = api.contacts()
    assert all(contact["properties"]["external_id"] == key for key, contact in contacts.items())
    return {key: contact["properties"] for key, contact in contacts.items()}


def test_only_changes_are_sent(source: Warehouse, api: ContactsServer) -> None:
    first = deliver(source, api)
    assert (first.read, first.creates, first.delivered) == (1000, 1000, 1000)
    assert held(api) == model(source)
    assert held(api)["c1"]["customer_value"] == "1.37"
    assert held(api)["c1"]["last_order_at"] == "2024-01-01T12:01:00.000001+00:00"
    requests = api.requests()
    assert requests == 20

    assert deliver(source, api).unchanged == 1000
    assert api.requests() == requests

    source.change("update contacts set segment = 'vip!' where external_id in ('c1', 'c999')")
    assert deliver(source, api).delivered == 2
    assert api.requests() == requests + 1
    assert {key for key, contact in api.contacts().items() if contact["revision"] == 2} == {"c1", "c999"}


def test_rejected_records_are_kept_and_tried_again_up_to_a_ceiling(
    source: Warehouse, api: ContactsServer
) -> None:
    # One is refused by itself (207), the other makes the API refuse every batch that holds it (400).
    source.change("update contacts set email = 'not an address' where external_id = 'c10'")
    source.change("update contacts set customer_value = 'NaN' where external_id = 'c555'")
    first = deliver(source, api, max_attempts=2)
    assert (first.delivered, first.rejected, first.status) == (998, 2, "delivered")
    assert source.records()["c10"] == ("rejected", 1, "email is not valid")
    assert source.records()["c555"][:2] == ("rejected", 1)
    assert source.records()["c555"][2].startswith("HTTP 400: ")
    assert held(api) == model(source, "external_id not in ('c10', 'c555')")

    assert deliver(source, api, max_attempts=2).creates == 2
    third = deliver(source, api, max_attempts=2)
    assert (third.creates, third.held, third.rejected) == (0, 2, 2)
    source.change("update contacts set email = 'valid@example.com' where external_id = 'c10'")
    assert deliver(source, api, max_attempts=2).delivered == 1


def test_dropped_after_applying_is_sent_again_with_one_effect(source: Warehouse, api: ContactsServer) -> None:
    api.fault("drop", times=3)
    api.fault("status", status=503, times=2)
    report = deliver(source, api, concurrency=2)
    assert (report.delivered, report.unsent) == (1000, 0)
    assert held(api) == model(source)
    assert {contact["revision"] for contact in api.contacts().values()} == {1}


def test_an_answer_that_comes_too_late_is_no_answer(source: Warehouse, api: ContactsServer) -> None:
    api.fault("delay", seconds=1.5, times=1)
    report = deliver(source, api, timeout_seconds=0.5)
    assert report.delivered == 1000
    assert {contact["revision"] for contact in api.contacts().values()} == {1}


def test_an_api_that_is_down_leaves_the_rest_for_the_next_run(source: Warehouse, api: ContactsServer) -> None:
    deliver(source, api)
    source.change("update contacts set segment = 'vip!'")
    api.fault("status", status=500, times=1000)
    with pytest.raises(TransientError, match=r"1000 of 1000 records have no answer; 0 were delivered"):
        deliver(source, api)
    assert source.runs()[-1]["status"] == "incomplete"
    assert "HTTP 500" in source.runs()[-1]["error"]
    api.stop()
    api.start()
    assert deliver(source, api).delivered == 1000
    assert held(api) == model(source)


def test_unanswered_and_then_back_to_the_old_value(source: Warehouse, api: ContactsServer) -> None:
    """What was sent without an answer may have arrived: the value acknowledged before may be gone."""
    deliver(source, api)
    old = source.execute("select segment from activation.contacts where external_id = 'c1'")[0][0]
    source.change("update contacts set segment = 'vip!' where external_id = 'c1'")
    api.fault("drop", times=100)
    with pytest.raises(TransientError):
        deliver(source, api)
    assert held(api)["c1"]["segment"] == "vip!"
    source.execute("update activation_v1.contacts set segment = %s where external_id = 'c1'", old)
    api.stop()
    api.start()
    assert deliver(source, api).updates == 1
    assert held(api) == model(source)


def test_a_record_that_the_api_stumbles_over_holds_up_no_other(
    source: Warehouse, api: ContactsServer
) -> None:
    api.fault("stumble", id="c777")
    with pytest.raises(TransientError, match="1 of 1000 records have no answer; 999 were delivered"):
        deliver(source, api)
    assert held(api) == model(source, "external_id <> 'c777'")
    api.fault("stumble", id="")
    assert deliver(source, api).delivered == 1


def test_retry_after_is_honoured(source: Warehouse, tmp_path: Path) -> None:
    with contacts_server(tmp_path, "--rate", "8", "--per", "1") as api:
        started = time.monotonic()
        assert deliver(source, api).delivered == 1000
        # 20 batches, 8 in each second.
        assert time.monotonic() - started >= 2
        assert held(api) == model(source)


def test_a_wait_that_is_too_long_ends_the_run(source: Warehouse, tmp_path: Path) -> None:
    with contacts_server(tmp_path, "--rate", "5", "--per", "600") as api:
        started = time.monotonic()
        with pytest.raises(TransientError, match="HTTP 429"):
            deliver(source, api)
        assert time.monotonic() - started < 10
        assert source.runs()[-1]["delivered"] == 250


def test_killed_in_the_middle_again_and_again_ends_the_same(source: Warehouse, api: ContactsServer) -> None:
    source.change("update contacts set email = 'not an address' where external_id = 'c10'")
    chance = random.Random(3)
    for _ in range(4):
        api.fault("delay", seconds=0.2, times=10)
        changed = http_contract(batch_size=20, concurrency=2)
        deliver_and_kill(changed, source, api.connection, chance.uniform(0, 0.3))
    report = deliver(source, api)
    assert report.read == report.unchanged + report.delivered + report.rejected == 1000
    assert report.rejected == 1
    assert held(api) == model(source, "external_id <> 'c10'")
    assert {contact["revision"] for contact in api.contacts().values()} == {1}
    assert [run["status"] for run in source.runs()] == ["abandoned"] * 4 + ["delivered"]
    for run in source.runs():
        assert run["read"] == sum(
            run[name] for name in ("unchanged", "held", "delivered", "rejected", "unsent")
        )
    assert source.execute("select count(*) from ledger.sync_in_flight") == [(0,)]


def test_the_server_dies_in_the_middle(source: Warehouse, api: ContactsServer) -> None:
    api.fault("delay", seconds=0.1, times=1000)
    process = deliverer(http_contract(), source.connection, api.connection)
    wait_for(lambda: source.execute("select 1 from ledger.sync_record"))
    api.stop()
    api.start()
    assert process.wait(60) == 0
    assert held(api) == model(source)
    assert {contact["revision"] for contact in api.contacts().values()} == {1}


def test_wrong_token_path_or_answer_is_terminal(source: Warehouse, api: ContactsServer) -> None:
    stranger = replace(api.connection, password="wrong")
    with pytest.raises(TerminalError, match="HTTP 401") as caught:
        activation.run(http_contract(), source.connection, stranger, run_id="test")
    assert "wrong" not in str(caught.value)
    with pytest.raises(TerminalError, match="HTTP 404"):
        deliver(source, api, path="/v1/nothing")
    with pytest.raises(TerminalError, match="does not answer as declared"):
        deliver(
            source,
            api,
            path="",
            declaration=declaration(upsert={"reply": {"results": "outcomes", "id": ["id"]}}),
        )
    assert [run["status"] for run in source.runs()] == ["failed", "failed", "failed"]
    # What the last one sent did arrive, but nobody acknowledged it.
    assert deliver(source, api).delivered == 1000
    assert {contact["revision"] for contact in api.contacts().values()} == {1}


def test_nothing_listens_there(source: Warehouse) -> None:
    nobody = ContactsServer(Path(), port=free_port())
    with pytest.raises(Unreachable):
        deliver(source, nobody)
    with pytest.raises(ContractError, match="another type"):
        activation.run(http_contract(), source.connection, source.connection, run_id="test")


def test_no_personal_data_and_no_token_in_the_log(
    source: Warehouse, api: ContactsServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    source.change("update contacts set email = 'not an address' where external_id = 'c10'")
    api.fault("status", status=500, times=1)
    api.fault("drop", times=1)
    deliver(source, api)
    assert "contacts: 999 delivered, 1 rejected" in caplog.text
    for secret in (TOKEN, "example.com", "not an address", "Person"):
        assert secret not in caplog.text
        assert secret not in json.dumps(source.runs())


def test_more_than_the_api_takes_is_halved(source: Warehouse, api: ContactsServer) -> None:
    assert deliver(source, api, batch_size=250).delivered == 1000
    assert held(api) == model(source)
