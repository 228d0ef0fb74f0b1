"""A sync as people see it: its plan field by field, its records, what may leave, from where, and after whose approval."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from include import activation
from include.activation import Approved
from include.cli.main import app
from include.core.errors import BreakerTripped, ContractError, TerminalError
from include.flows.syncs import Sync
from tests.support.activation import COLUMNS, Crm, Warehouse, contract, crm, people, warehouse

PERSONAL = ("email", "full_name")
MAPPING = {name: name for name in COLUMNS}


@pytest.fixture
def source(database: Callable[..., str]) -> Warehouse:
    made = warehouse(database("warehouse"))
    made.publish(people(100))
    return made


@pytest.fixture
def target(database: Callable[..., str]) -> Crm:
    made = crm(database("crm"))
    made.execute("grant delete on crm.contacts to crm_writer_of_tests")
    return made


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """What dbt says of the model: two of its columns are personal."""
    columns = {name: {"config": {"meta": {"pii": "direct"} if name in PERSONAL else {}}} for name in COLUMNS}
    node = {"resource_type": "model", "name": "contacts", "columns": columns, "constraints": []}
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({"nodes": {"model.shop.contacts": node}}))
    return path


@pytest.fixture
def sync(source: Warehouse, target: Crm, manifest: Path) -> Callable[..., Sync]:
    """`sync(**changes)`: the flow of the contract with these fields replaced."""
    connections = {"warehouse_activator": source.connection, "crm": target.connection}

    def make(environment: str = "local", **changes: Any) -> Sync:
        wanted = contract(**{"personal": PERSONAL, **changes})
        return Sync(wanted, connections.__getitem__, manifest, environment)

    return make


def planned(sync: Sync) -> list[str]:
    said: list[str] = []
    sync.plan(said.append)
    return said


def test_a_plan_shows_changes_field_by_field_and_nothing_personal(
    source: Warehouse, sync: Callable[..., Sync]
) -> None:
    mirror = sync(mode="mirror")
    mirror.deliver("first")
    source.change("update contacts set segment = 'vip!', email = 'new@example.com' where external_id = 'c1'")
    source.change("update contacts set last_order_at = null where external_id = 'c2'")
    source.change("delete from contacts where external_id = 'c9'")
    source.change("insert into contacts values ('new', 'n@example.com', 'New Person', 1.50, 'new', null)")

    said = planned(mirror)

    assert said[:2] == [
        "contacts: activation.contacts (activation_v1.contacts)",
        "  to crm.contacts by connection crm, mode mirror",
    ]
    counts = {line[:18].strip(): line[18:31].strip() for line in said[2:9]}
    assert counts == {
        "in the model": "100",
        "unchanged": "97",
        "held": "0",
        "to create": "1",
        "to update": "2",
        "to delete": "1",
        "rejected before": "0",
    }
    changes = "\n".join(said[said.index("for example") + 1 :])
    assert "  delete c9\n" in changes
    assert (
        '  update c1\n    email: (personal data) → (personal data)\n    segment: "new" → "vip!"\n' in changes
    )
    assert '  update c2\n    last_order_at: "2024-01-01T12:02:00.000002+00:00" → null\n' in changes
    assert '    customer_value: "1.50"' in changes
    assert "example.com" not in changes
    assert "Person" not in changes


def test_a_personal_key_is_hidden_and_so_is_everything_where_nobody_knows_the_model(
    source: Warehouse, target: Crm, manifest: Path, sync: Callable[..., Sync]
) -> None:
    target.execute("create unique index on crm.contacts (email)")
    by_mail = {"type": "postgres", "connection": "crm", "table": "crm.contacts", "key": "email"}
    said = planned(sync(key="email", destination=by_mail))
    assert any(line.startswith("  create (personal data, md5 ") for line in said)
    assert "example.com" not in "\n".join(said)
    manifest.unlink()
    assert sync().personal_fields == set(COLUMNS)
    with pytest.raises(TerminalError, match="dbt does not know the model"):
        sync().deliver("test")


def test_personal_data_leaves_only_by_name(target: Crm, sync: Callable[..., Sync]) -> None:
    with pytest.raises(ContractError, match="personal data would leave") as refused:
        sync(personal=["email"]).deliver("test")
    assert refused.value.received == "full_name"
    # Nor in another form.
    hello = {"template": "Dear {full_name}"}
    with pytest.raises(ContractError, match="full_name"):
        sync(personal=["email"], mapping={**MAPPING, "full_name": hello}).plan(print)
    assert target.contacts() == set()
    assert sync().deliver("test").delivered == 100


def test_it_sends_only_from_where_it_may(target: Crm, sync: Callable[..., Sync]) -> None:
    developer = sync(environments=["production"])
    assert "to create" in "".join(planned(developer))
    with pytest.raises(TerminalError, match="this environment is local"):
        developer.deliver("test")
    assert target.contacts() == set()
    assert sync("production", environments=["production"]).deliver("test").delivered == 100
    assert sync().held_by_environment() == ""


@pytest.mark.parametrize(
    ("approval", "asked"),
    [
        *(("never", False), ("always", True), ({"above": 2}, True), ({"above": 3}, False)),
        *(({"above": 0.02}, True), ({"above": 0.03}, False)),
    ],
)
def test_who_is_asked(
    source: Warehouse, target: Crm, sync: Callable[..., Sync], approval: object, asked: bool
) -> None:
    sync().deliver("first")
    assert not sync(approval=approval).needs_approval(sync().plan(print))
    source.change("update contacts set segment = 'vip!' where external_id in ('c1', 'c2', 'c3')")
    wanted = sync(approval=approval)
    assert wanted.needs_approval(wanted.plan(print)) is asked
    if asked:
        with pytest.raises(BreakerTripped, match="nobody was asked"):
            wanted.deliver("second")
    assert wanted.deliver("third", Approved(0, 3, 0, "anna")).delivered == 3
    assert source.runs()[-1]["approved_by"] == "anna"


def test_no_more_is_sent_than_was_approved(source: Warehouse, target: Crm, sync: Callable[..., Sync]) -> None:
    with pytest.raises(BreakerTripped, match="more would be sent by now than was approved"):
        sync(approval="always").deliver("test", Approved(99, 0, 0, "anna"))
    assert target.contacts() == set()
    assert source.runs() == []


def test_records_can_be_looked_at_and_rejected_ones_sent_again(
    source: Warehouse,
    target: Crm,
    manifest: Path,
    sync: Callable[..., Sync],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _command_line(source, manifest, tmp_path, monkeypatch)
    assert "nothing was delivered yet" in millrace("sync", "show", "contacts")
    target.execute("alter table crm.contacts add check (customer_value >= 0)")
    source.change("update contacts set customer_value = -1 where external_id in ('c3', 'c4')")
    limited = sync(max_attempts=1)
    limited.deliver("manual__1")

    (line,) = [line for line in millrace("sync", "list").splitlines() if line.startswith("contacts")]
    assert line.split()[-2:] == ["98", "2"]
    shown = millrace("sync", "show", "contacts")
    assert "rejected: 2" in shown
    assert "violates check constraint" in shown
    assert "held" in shown
    one = millrace("sync", "show", "contacts", "c1")
    assert "last answer:  delivered, to create" in one
    assert "run:          manual__1" in one
    assert "model:        activation_v1.contacts" in one
    assert '  customer_value: "1.37"' in one
    assert "  email: (personal data)" in one
    assert "no record of this key" in millrace("sync", "show", "contacts", "c77x", fails=True)
    assert "to create                   0" in millrace("sync", "plan", "contacts")

    assert limited.deliver("manual__2").held == 2
    target.execute("alter table crm.contacts drop constraint contacts_customer_value_check")
    assert "not among the rejected" in millrace("sync", "retry", "contacts", "c3", "c1", fails=True)
    assert "1 records go along" in millrace("sync", "retry", "contacts", "c3")
    report = limited.deliver("manual__3")
    assert (report.delivered, report.held) == (1, 1)
    assert "1 records go along" in millrace("sync", "retry", "contacts")
    assert limited.deliver("manual__4").delivered == 1
    assert "no record is rejected" in millrace("sync", "retry", "contacts")


def millrace(*arguments: str, fails: bool = False) -> str:
    told = CliRunner().invoke(app, list(arguments))
    assert told.exit_code == fails, told.output
    return told.output


def _command_line(source: Warehouse, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command line find the contract, the warehouse, and what dbt says of the model."""
    folder = tmp_path / "contracts" / "syncs"
    folder.mkdir(parents=True)
    wanted = contract(personal=PERSONAL, max_attempts=1)
    data = json.loads(wanted.model_dump_json(exclude={"alerts", "deadline", "retry", "task_timeout"}))
    data = {name: value for name, value in data.items() if value is not None}
    (folder / "contacts.yaml").write_text(yaml.safe_dump(data | {"deadline": {"after_queueing": "10m"}}))
    monkeypatch.setenv("MILLRACE_CONTRACTS", str(folder.parent))
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE_ACTIVATOR", source.connection.postgres_uri())
    monkeypatch.setattr("include.stack.home.DBT_MANIFEST", manifest)


def test_a_newer_value_is_never_overtaken_by_a_worker_that_lost_its_turn(
    source: Warehouse, target: Crm
) -> None:
    """A delivery whose session in the warehouse is gone sends nothing more: what it sends is written down there first."""
    sent: list[int] = []
    one = activation.Backoff(tries=1, first=0.01, longest=0.02)

    def lose_the_session(settled: int) -> None:
        sent.append(settled)
        source.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'millrace_activator'"
        )

    with pytest.raises(Exception, match=r"terminat|closed|lost"):
        activation.run(
            contract(batch_size=10), source.connection, target.connection, run_id="late", backoff=one,
            progress=lose_the_session,
        )  # fmt: skip
    assert sent == [10]
    # and the batch that was under way by then
    assert len(target.contacts()) == 20
    source.change("update contacts set segment = 'newer'")
    report = activation.run(contract(), source.connection, target.connection, run_id="next")
    assert report.delivered == 100
    assert {row[4] for row in target.contacts()} == {"newer"}
