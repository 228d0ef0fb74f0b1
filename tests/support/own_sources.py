"""What the stack of a test run knows: the shop's contracts, and databases that are no demo.

The contracts are a copy, so that no test writes into the project, and only the shop's, so that none runs for a system
of whoever works here. A stack gets both as a person's shell would give them: MILLRACE_CONTRACTS and AIRFLOW_CONN_<ID>
in its environment.
"""

from __future__ import annotations

import json
import re
import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from include.stack import ports, postgres
from include.stack.home import PROJECT_ROOT, Home
from tests.support.stack import Stack

CONTRACTS = PROJECT_ROOT / "include" / "contracts"
_SHOPS = ("sources/shop", "transforms/shop", "syncs/contacts_api", "syncs/crm_contacts")
#: Databases that a test may create; each is the connection of the same name.
DATABASES = ("chinook", "nasty", "depot", "bank")
_READER = "reader_of_tests"


def shops_contracts() -> list[Path]:
    """The files that the demo brings; there may be others beside them, of somebody who works with this clone."""
    return [CONTRACTS / f"{name}.yaml" for name in _SHOPS]


def copied(contracts: Path) -> Path:
    """Copy the shop's contracts to this folder, as they are but for the patience of their retries; returns it."""
    for path in shops_contracts():
        copy = contracts / path.parent.name / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(re.sub(r"^  delay: .*$", "  delay: 1s", path.read_text(), flags=re.MULTILINE))
    return contracts


def variables(home: Home, contracts: Path) -> dict[str, str]:
    """Settle the stack's ports, copy the contracts to `contracts`; returns what the stack's shell exports."""
    copied(contracts)
    home.create()
    # away from where others begin to look, for between here and its start nobody holds them
    away = {service: port + 100 for service, port in ports.PREFERRED.items()}
    home.ports_file.write_text(json.dumps(away))
    ports.choose(home.ports_file).release()
    port, password = ports.remembered(home.ports_file)["postgres"], uuid.uuid4().hex
    uris = {name: postgres.conninfo(port, password, name, _READER) for name in DATABASES}
    return {
        "MILLRACE_CONTRACTS": str(contracts),
        **{f"AIRFLOW_CONN_{name.upper()}": uri for name, uri in uris.items()},
    }


def let_read(stack: Stack, database: str, *schemas: str) -> None:
    """Let the role of the connections above read these schemas of a database that a test has filled."""
    password = urlsplit(stack.variables[f"AIRFLOW_CONN_{database.upper()}"]).password
    role = sql.Identifier(_READER)
    with psycopg.connect(stack.postgres.conninfo(database), autocommit=True) as admin:
        if not admin.execute("select 1 from pg_roles where rolname = %s", (_READER,)).fetchone():
            admin.execute(sql.SQL("create role {} login password {}").format(role, sql.Literal(password)))
            admin.execute(sql.SQL("grant pg_read_all_stats to {}").format(role))
        for schema in schemas:
            name = sql.Identifier(schema)
            admin.execute(sql.SQL("grant usage on schema {} to {}").format(name, role))
            admin.execute(sql.SQL("grant select on all tables in schema {} to {}").format(name, role))


DEPOT = """
create schema depot;
create table depot.items (
    item_id bigint primary key, name text not null, price numeric(10, 2) not null, updated_at timestamptz not null
);
insert into depot.items select n, 'item ' || n, n, now() - interval '3 days' from generate_series(1, 1000) n;
-- nothing keeps anybody from writing nonsense here
create table depot.readings (reading_id bigint, celsius numeric(6, 2));
insert into depot.readings select n, n % 40 from generate_series(1, 500) n;
"""


def create_depot(stack: Stack) -> None:
    """A source that nothing is built on, with its contract: runs of it start nothing else.

    `items` is read by its cursor and its keys, `readings` whole. A stream that fails its audit does not hold back the
    other one. Its runs are late after five seconds. It is pulled daily, for four days now.
    """
    with psycopg.connect(stack.postgres.conninfo(), autocommit=True) as admin:
        admin.execute("create database depot")
    with psycopg.connect(stack.postgres.conninfo("depot"), autocommit=True) as admin:
        admin.execute(DEPOT.encode())
    let_read(stack, "depot", "depot")
    start = datetime.now(timezone.utc).date() - timedelta(days=4)
    folder = Path(stack.variables["MILLRACE_CONTRACTS"]) / "sources"
    (folder / "depot.yaml").write_text(_DEPOT_CONTRACT.format(start=start))


_DEPOT_CONTRACT = """
source: depot
kind: postgres
connection: depot
description: A small source on which nothing is built.
owner: {{team: depot-team, contact: depot@example.com}}
consumers: [keeper@example.com]
runbook: Ask the keeper of the depot.
alerts: {{on_failure: [alerts], on_missed_deadline: [alerts]}}
deadline: {{after_queueing: 5s}}
retry: {{attempts: 3, delay: 1s}}
schedule: {{cron: "0 0 * * *", start: {start}}}
keeps: forever
errors_tolerated: 0
lateness: 0s
upstreams: []
on_failed_audit: stop_stream
streams:
  - name: items
    table: depot.items
    primary_key: [item_id]
    mode: incremental
    cursor: updated_at
    deletes: keys
    columns:
      item_id: {{type: bigint}}
      name: {{type: text, not_null: true}}
      price: {{type: "numeric(10,2)", not_null: true, min: 0}}
      updated_at: {{type: timestamp with time zone, not_null: true}}
  - name: readings
    table: depot.readings
    primary_key: [reading_id]
    mode: snapshot
    deletes: snapshot
    columns:
      reading_id: {{type: bigint}}
      celsius: {{type: "numeric(6,2)"}}
"""
