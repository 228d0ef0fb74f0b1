"""What every destination shows, of whatever kind: the conformance suite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path

import pytest

from include import activation
from include.activation.destinations import Destination, open_destination
from include.activation.records import Outcome
from include.core.connection import Connection
from include.core.contracts import SyncContract
from include.core.errors import TerminalError, Unreachable
from tests.support import destinations as kinds
from tests.support.activation import COLUMNS, Warehouse, people, wait_for, warehouse
from tests.support.destinations import REFUSED, Target, person, record, row

KINDS = ("postgres", "mysql", "http", "s3")
QUICK = activation.Backoff(tries=5, first=0.05, longest=0.2)


@pytest.fixture(params=KINDS)
def target(request: pytest.FixtureRequest, database: Callable[..., str], tmp_path: Path) -> Iterator[Target]:
    with ExitStack() as stack:
        if request.param == "mysql":
            made = kinds.mysql(request.getfixturevalue("mariadb_server"))
        elif request.param == "s3":
            made = kinds.s3(request.getfixturevalue("s3_store"), f"out/{tmp_path.name}")
        else:
            made = kinds.postgres(database("crm")) if request.param == "postgres" else kinds.http(tmp_path)
        yield stack.enter_context(made)


@pytest.fixture
def destination(target: Target) -> Iterator[Destination]:
    opened = open_destination(target.contract(), target.connection)
    yield opened
    opened.close()


@pytest.fixture
def source(database: Callable[..., str]) -> Warehouse:
    made = warehouse(database("warehouse"))
    made.publish(people(300))
    return made


def kinds_of(outcomes: list[Outcome]) -> list[str]:
    return [outcome.kind for outcome in outcomes]


def checked(contract: SyncContract, connection: Connection) -> None:
    with closing(open_destination(contract, connection)) as opened:
        opened.check()


def test_what_cannot_work_is_refused_before_anything_is_sent(target: Target) -> None:
    for contract, connection, words in target.unusable():
        with pytest.raises(TerminalError) as refused:
            checked(contract, connection)
        assert words in str(refused.value)
        assert connection.password not in str(refused.value)
    assert target.held() == {}


def test_a_batch_arrives_and_the_same_again_changes_nothing(target: Target, destination: Destination) -> None:
    destination.check()
    people = [person(f"c{number}") for number in range(50)]
    batch = [record(each, "create") for each in people]
    assert kinds_of(destination.send(batch)) == ["delivered"] * 50
    assert target.held() == {each["external_id"]: row(each) for each in people}

    before = target.touched()
    assert kinds_of(destination.send(batch)) == ["delivered"] * 50
    assert target.touched() == before

    changed = person("c7", segment="lost", last_order_at=None)
    assert kinds_of(destination.send([record(changed)])) == ["delivered"]
    assert target.held()["c7"] == row(changed)
    now = target.touched()
    assert {key for key in now if now[key] != before[key]} == {"c7"}


def test_a_bad_record_is_rejected_alone_with_its_reason_and_in_order(
    target: Target, destination: Destination
) -> None:
    bad = {3, 11, 12, 49} if target.refuses else set()
    people = [person(f"c{number}", **({"email": REFUSED} if number in bad else {})) for number in range(50)]
    outcomes = destination.send([record(each, "create") for each in people])
    assert {number for number, one in enumerate(outcomes) if one.kind == "rejected"} == bad
    assert {one.kind for one in outcomes} <= {"rejected", "delivered"}
    assert all(outcomes[number].reason for number in bad)
    assert set(target.held()) == {f"c{number}" for number in range(50) if number not in bad}


def test_all_bad_is_all_rejected(target: Target, destination: Destination) -> None:
    batch = [record(person(f"c{number}", email=REFUSED)) for number in range(5)]
    assert kinds_of(destination.send(batch)) == ["rejected" if target.refuses else "delivered"] * 5
    assert len(target.held()) == (0 if target.refuses else 5)


def test_a_server_that_goes_away_rejects_nothing(target: Target, destination: Destination) -> None:
    batch = [record(person(f"c{number}")) for number in range(5)]
    assert kinds_of(destination.send(batch)) == ["delivered"] * 5
    target.proxy.down()
    changed = [record(person(f"c{number}", segment="new")) for number in range(5)]
    outcomes = destination.send(changed)
    assert kinds_of(outcomes) == ["retryable"] * 5
    assert all(one.reason for one in outcomes)
    with pytest.raises(Unreachable):
        destination.check()
    target.proxy.up()
    assert kinds_of(destination.send(changed)) == ["delivered"] * 5
    target.proxy.cut()
    assert set(kinds_of(destination.send(batch))) <= {"retryable", "delivered"}
    assert kinds_of(destination.send(batch)) == ["delivered"] * 5
    assert target.held() == {f"c{number}": row(person(f"c{number}")) for number in range(5)}


def test_values_arrive_as_they_are(target: Target, destination: Destination) -> None:
    people = [
        person("ключ 🔑", email="a@example.com", full_name="Zoë 'O\"Brien' \\ %s %(a)s ` \t\n 😀 \u2028 é"),
        person("nulls", email=None, full_name=None, customer_value=None, segment=None, last_order_at=None),
        person("empty", full_name=""),
        person("digits", customer_value=Decimal("123456789012.34")),
        person("negative", customer_value=Decimal("-0.01")),
        person("old", last_order_at=datetime(1970, 1, 1, tzinfo=timezone.utc)),
        person("spring", last_order_at=datetime(2024, 3, 31, 1, 30, 0, 999999, timezone.utc)),
        person("late", last_order_at=datetime(9999, 12, 31, 23, 59, 59, 999999, timezone.utc)),
    ]
    assert kinds_of(destination.send([record(each) for each in people])) == ["delivered"] * len(people)
    assert target.held() == {each["external_id"]: row(each) for each in people}


def test_a_letter_that_nothing_can_hold_is_no_reason_to_stop(
    target: Target, destination: Destination
) -> None:
    """NUL: a warehouse on Postgres has none, but a template may write one. It is taken as it is, or rejected alone."""
    people = [person("c1"), person("c2", full_name="a\x00b"), person("c3")]
    outcomes = destination.send([record(each) for each in people])
    assert kinds_of([outcomes[0], outcomes[2]]) == ["delivered"] * 2
    held = target.held()
    assert outcomes[1].kind == ("delivered" if "c2" in held else "rejected")
    assert "c2" not in held or held["c2"] == row(people[1])


def test_deletes(target: Target) -> None:
    contract = target.contract()
    if "mirror" not in contract.destination.possible:
        with pytest.raises(ValueError, match="mode"):
            target.contract(mode="mirror")
        return
    opened = open_destination(target.contract(mode="mirror"), target.connection)
    opened.check()
    opened.send([record(person(f"c{number}"), "create") for number in range(6)])
    leaving = [record(person(key), "delete") for key in ("c1", "never there", "c4")]
    assert kinds_of(opened.send(leaving)) == ["delivered"] * 3
    assert set(target.held()) == {"c0", "c2", "c3", "c5"}
    assert kinds_of(opened.send(leaving)) == ["delivered"] * 3
    assert kinds_of(opened.send([record(person("c1"), "create")])) == ["delivered"]
    assert target.held()["c1"] == row(person("c1"))
    opened.close()


def test_closing_lets_go_of_every_connection(target: Target) -> None:
    opened = open_destination(target.contract(), target.connection)
    opened.check()
    opened.send([record(person("c1"))])
    assert target.proxy.connections
    opened.close()
    wait_for(lambda: target.proxy.open == 0)
    open_destination(target.contract(), target.connection).close()  # nothing was opened


def test_a_whole_run_and_only_changes_after_it(target: Target, source: Warehouse) -> None:
    def deliver() -> activation.SyncReport:
        return activation.run(
            target.contract(), source.connection, target.connection, run_id="test", backoff=QUICK
        )

    assert deliver().delivered == 300
    rows = source.execute(f"select {', '.join(COLUMNS)} from activation.contacts")
    assert target.held() == {each[0]: each for each in rows}
    before = target.touched()
    source.change("update contacts set segment = 'vip!' where external_id in ('c1', 'c300')")
    assert deliver().delivered == 2
    now = target.touched()
    assert {key for key in now if now[key] != before[key]} == {"c1", "c300"}
