"""Reading back what a destination acknowledged: what others changed there is told, and overwritten only when asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from include import activation
from include.core.connection import Connection
from include.core.errors import ContractError, LeaseHeld, Unreachable
from tests.support import destinations as kinds
from tests.support.activation import COLUMNS, Warehouse, contract, http_contract, people, warehouse
from tests.support.destinations import MysqlTarget, PostgresTarget

QUICK = activation.Backoff(tries=3, first=0.05, longest=0.2)
Checked = PostgresTarget | MysqlTarget


@pytest.fixture(params=["postgres", "mysql"])
def target(request: pytest.FixtureRequest, database: Callable[..., str]) -> Iterator[Checked]:
    with ExitStack() as stack:
        made = stack.enter_context(
            kinds.postgres(database("crm"))
            if request.param == "postgres"
            else kinds.mysql(request.getfixturevalue("mariadb_server"))
        )
        assert isinstance(made, Checked)
        yield made


@pytest.fixture
def source(database: Callable[..., str]) -> Warehouse:
    made = warehouse(database("warehouse"))
    made.publish(people(300))
    return made


def elsewhere(target: Checked, statement: str) -> None:
    """Somebody else works in the CRM."""
    if isinstance(target, PostgresTarget):
        target.database.execute(statement)
    else:
        target.server.run("set names utf8mb4", statement)


def deliver(source: Warehouse, target: Checked, **changes: Any) -> activation.SyncReport:
    return activation.run(
        target.contract(**changes), source.connection, target.connection, run_id="test", backoff=QUICK
    )


def verify(
    source: Warehouse, target: Checked, *, everything: bool = True, overwrite: bool = False, **changes: Any
) -> activation.Verification:
    return activation.verify(
        target.contract(**changes),
        source.connection,
        target.connection,
        run_id="test",
        everything=everything,
        overwrite=overwrite,
    )


def drift(source: Warehouse) -> dict[str, tuple[bool, list[str]]]:
    rows = source.execute("select record_key, missing, fields from ledger.sync_drift")
    return {row[0]: row[1:] for row in rows}


def test_what_others_changed_is_told_and_overwritten_when_asked(source: Warehouse, target: Checked) -> None:
    deliver(source, target)
    clean = verify(source, target)
    assert (clean.checked, clean.drifted) == (300, 0)

    elsewhere(target, "update crm.contacts set segment = 'lost!', email = null where external_id = 'c7'")
    elsewhere(target, "update crm.contacts set full_name = 'person 8' where external_id = 'c8'")
    elsewhere(target, "update crm.contacts set owner = 'Ada' where external_id = 'c9'")  # not ours
    elsewhere(target, "delete from crm.contacts where external_id = 'c10'")
    found = verify(source, target)
    assert (found.checked, found.differing, found.missing, found.overwritten) == (300, 2, 1, 0)
    assert dict(found.fields) == {"segment": 1, "email": 1, "full_name": 1}
    assert {key: (missing, set(fields)) for key, (missing, fields) in drift(source).items()} == {
        "c7": (False, {"segment", "email"}),
        "c8": (False, {"full_name"}),
        "c10": (True, set()),
    }
    for secret in ("lost!", "p7@example.com", "person 8"):
        assert secret not in str(found)
    # It was told, and no more: the next run leaves it.
    assert deliver(source, target).delivered == 0

    assert verify(source, target, overwrite=True).overwritten == 3
    assert deliver(source, target).delivered == 3
    assert verify(source, target).drifted == 0
    assert drift(source) == {}
    rows = source.execute(f"select {', '.join(COLUMNS)} from activation.contacts")
    assert target.held() == {row[0]: row for row in rows}
    books = source.execute(
        "select scope, checked, missing, differing, overwritten, finished_at is not null"
        " from ledger.sync_verification order by sync_verification_id"
    )
    assert books == [
        ("all", 300, 0, 0, 0, True),
        ("all", 300, 1, 2, 0, True),
        ("all", 300, 1, 2, 3, True),
        ("all", 300, 0, 0, 0, True),
    ]


def test_what_the_next_run_sends_anyway_is_no_drift(source: Warehouse, target: Checked) -> None:
    source.change("update contacts set email = 'refused' where external_id = 'c1'")
    assert deliver(source, target).rejected == 1
    source.change("update contacts set segment = 'changed' where external_id = 'c2'")
    source.change("insert into contacts values ('new', null, 'New', 1, null, null)")
    source.change("delete from contacts where external_id = 'c3'")
    found = verify(source, target)
    assert (found.checked, found.drifted) == (297, 0)


def test_a_sample_is_as_large_as_the_contract_says(source: Warehouse, target: Checked) -> None:
    deliver(source, target)
    elsewhere(target, "update crm.contacts set segment = 'lost!'")
    found = verify(source, target, everything=False, verify="sample", verify_sample=40, batch_size=7)
    assert (found.checked, found.differing) == (40, 40)
    assert len(drift(source)) == 40
    assert len(found.examples) == 5
    assert "and 35 more" in str(found)


def test_what_a_column_rounds_when_it_stores_it_is_no_drift(source: Warehouse, target: Checked) -> None:
    kind = "numeric(10, 1)" if isinstance(target, PostgresTarget) else "decimal(10, 1)"
    second = "timestamptz(0)" if isinstance(target, PostgresTarget) else "datetime"
    change = "alter {} type {}" if isinstance(target, PostgresTarget) else "modify {} {}"
    for column, declared in (("customer_value", kind), ("last_order_at", second)):
        elsewhere(target, f"alter table crm.contacts {change.format(column, declared)}")
    deliver(source, target)
    assert target.held()["c1"][3] == Decimal("1.4")
    assert verify(source, target).drifted == 0
    elsewhere(target, "update crm.contacts set customer_value = 1.5 where external_id = 'c1'")
    assert set(verify(source, target).fields) == {"customer_value"}


def test_no_delivery_at_the_same_time_and_a_destination_that_is_away(
    source: Warehouse, target: Checked
) -> None:
    deliver(source, target)
    with psycopg.connect(source.connection.postgres_uri(), autocommit=True) as other:
        other.execute("select pg_advisory_lock(hashtextextended('millrace.sync.contacts', 0))")
        with pytest.raises(LeaseHeld):
            verify(source, target)
    target.proxy.down()
    with pytest.raises(Unreachable):
        verify(source, target)


def test_where_it_cannot_work_the_contract_says_so(source: Warehouse) -> None:
    with pytest.raises(ValueError, match="verify"):
        http_contract(verify="sample")
    with pytest.raises(ValueError, match="verify"):
        contract(verify="all", mode="insert")
    api = Connection("contacts_api", "http", "127.0.0.1", 1)
    with pytest.raises(ContractError, match="cannot be verified"):
        activation.verify(
            http_contract(), source.connection, api, run_id="test", everything=True, overwrite=False
        )
