"""What tests of the whole lifecycle do and look at: runs in the real scheduler, and the state of every place after them."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg import sql

from include.cli.airflow_api import AirflowApi
from include.core.contracts import SourceContract, SyncContract, load_all, load_one
from include.demo.crm import DELIVERED_COLUMNS
from include.flows.books import unbalanced
from tests.support.stack import Stack

T = TypeVar("T")
SHOP = "shop"
#: Generous: others may use the machine as well, and nothing here measures time.
PATIENCE = 600.0


def until(found: Callable[[], T | None], what: str, patience: float = PATIENCE) -> T:
    """Ask until there is an answer."""
    deadline = time.monotonic() + patience
    while True:
        answer = found()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"waited {patience:.0f} s for {what}"
        time.sleep(0.3)


@dataclass(frozen=True)
class Run:
    """A run of a DAG."""

    dag_id: str
    run_id: str
    state: str = field(default="", compare=False)


@dataclass(frozen=True)
class Lifecycle:
    """A stack, and the questions that tests ask it."""

    stack: Stack

    @cached_property
    def api(self) -> AirflowApi:
        return AirflowApi(self.stack.home)

    # --- places

    def at(self, database: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of one statement, as a superuser, in UTC."""
        with psycopg.connect(self.stack.postgres.conninfo(database), autocommit=True) as session:
            session.execute("set timezone = 'UTC'")
            cursor = session.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def value(self, database: str, statement: str, *values: Any) -> Any:
        """The one value of one statement."""
        return self.at(database, statement, *values)[0][0]

    @property
    def contracts(self) -> Path:
        """The folder that this stack reads its contracts from."""
        return Path(self.stack.variables["MILLRACE_CONTRACTS"])

    def contract(self, source: str) -> SourceContract:
        return load_one(SourceContract, self.contracts / "sources" / f"{source}.yaml")

    def watermarks(self, source: str) -> dict[str, datetime | None]:
        rows = self.at(
            "warehouse", "select stream, watermark from ledger.watermark where source = %s", source
        )
        return dict(rows)

    def alerts(self) -> list[str]:
        """Each alert that was written, in one text."""
        file = self.stack.home.path / "alerts.log"
        return file.read_text().strip().split("\n\n") if file.exists() else []

    def alert_of(self, run: Run, headline: str) -> str:
        """The alert about a run whose first line says this, once it is there. A run may be late as well as fail."""
        return until(
            lambda: next(
                (
                    text
                    for text in self.alerts()
                    if run.run_id in text and f"{run.dag_id} {headline}" in text.splitlines()[0]
                ),
                None,
            ),
            f"an alert that {run} {headline}",
        )

    # --- runs

    def trigger(self, dag_id: str, **conf: Any) -> Run:
        """Start a run by hand, as soon as Airflow knows the DAG."""
        until(lambda: dag_id in self.api.dag_ids(), f"{dag_id} to appear")
        return Run(dag_id, self.api.trigger(dag_id, conf))

    def ended(self, run: Run) -> Run:
        """The same run with its state, once it has ended."""
        state = until(
            lambda: next((s for s in ("success", "failed") if s == self.state(run)), None), f"{run} to end"
        )
        return Run(run.dag_id, run.run_id, state)

    def state(self, run: Run) -> str:
        return str(self.api.run(run.dag_id, run.run_id)["state"])

    def done(self, dag_id: str, **conf: Any) -> Run:
        """A run by hand, once it has ended."""
        return self.ended(self.trigger(dag_id, **conf))

    def caused(self, dag_id: str, upstream: Run) -> Run:
        """The run of a DAG that an asset event of another run started, once it has ended."""
        found = until(
            lambda: self.api.run_caused_by(dag_id, upstream.run_id), f"{upstream} to start {dag_id}"
        )
        return self.ended(Run(dag_id, found["dag_run_id"]))

    def through(self, ingest: Run) -> list[Run]:
        """All that a run of the shop's ingest starts: transform, syncs; once they have ended, in this order."""
        transform = self.caused("transform__shop", self.ended(ingest))
        return [transform, *(self.caused(f"activate__{sync}", transform) for sync in self.syncs())]

    def quiet(self) -> None:
        """Return once no run is under way and no asset event is about to start one."""
        # a DAG whose contract a test has removed starts no more
        busy = (
            "select 1 from asset_dag_run_queue q join dag d on d.dag_id = q.target_dag_id where not d.is_stale"
            " union all select 1 from dag_run where state in ('queued', 'running')"
        )
        until(lambda: not self.at("airflow", busy), "all runs to end")

    def syncs(self) -> list[str]:
        return [sync.sync for sync in load_all(SyncContract, self.contracts)]

    def tasks(self, run: Run, task_id: str = "") -> list[dict[str, Any]]:
        return [t for t in self.api.tasks(run.dag_id, run.run_id) if not task_id or t["task_id"] == task_id]

    def task(self, run: Run, task_id: str, name: str = "") -> dict[str, Any]:
        """A task instance; of a mapped task the one that carries that name, alone or among others."""
        return next(
            t for t in self.tasks(run, task_id) if not name or name in t["rendered_map_index"].split(", ")
        )

    def states(self, run: Run) -> dict[str, set[str]]:
        """The states of the instances of each task."""
        found: dict[str, set[str]] = {}
        for task in self.tasks(run):
            found.setdefault(task["task_id"], set()).add(task["state"])
        return found

    def log(self, run: Run, task_id: str, name: str = "") -> str:
        return "\n".join(self.api.log_tail(self.task(run, task_id, name), 10_000))

    def clear(self, run: Run, *task_ids: str, run_on_latest_version: bool = False) -> Run:
        """Let these tasks of a run run again, all of them when none is named; the run, once it has ended."""
        answer = self.api.call(
            "POST",
            f"/api/v2/dags/{run.dag_id}/clearTaskInstances",
            json={
                "dag_run_id": run.run_id,
                "dry_run": False,
                "only_failed": False,
                "reset_dag_runs": True,
                "run_on_latest_version": run_on_latest_version,
                **({"task_ids": list(task_ids)} if task_ids else {}),
            },
        )
        assert answer["total_entries"], answer
        return self.ended(run)

    def backfilled(self, backfill_id: int) -> list[Run]:
        """The runs of a backfill, once all have ended."""
        until(
            lambda: self.api.call("GET", f"/api/v2/backfills/{backfill_id}")["completed_at"],
            f"backfill {backfill_id} to end",
        )
        dag_id = self.api.call("GET", f"/api/v2/backfills/{backfill_id}")["dag_id"]
        found = self.at(
            "airflow", "select run_id from dag_run where backfill_id = %s order by 1", backfill_id
        )
        return [self.ended(Run(dag_id, run_id)) for (run_id,) in found]

    # --- what must agree

    def unequal(self, source: str, database: str | None = None) -> list[str]:
        """The streams of a source of which the live rows in raw are not the rows of the table, value by value."""
        contract, wrong = self.contract(source), []
        for stream in contract.streams:
            raw = sql.SQL("{} where _deleted_at is null").format(
                sql.Identifier(contract.raw_schema, stream.name)
            )
            there = self._rows(database or source, stream.read_columns, sql.SQL(stream.table))
            here = self._rows("warehouse", stream.read_columns, raw)
            if there != here:
                missing, extra = sorted(there - here)[:2], sorted(here - there)[:2]
                wrong.append(f"{stream.name}: {len(there)} rows, {len(here)} in raw: {missing} {extra}")
        return wrong

    def _rows(self, database: str, columns: tuple[str, ...], relation: sql.Composable) -> Bag:
        texts = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in columns)
        with psycopg.connect(self.stack.postgres.conninfo(database)) as session:
            session.execute("set timezone = 'UTC'; set search_path = pg_catalog")
            query = sql.SQL("select one::text from (select {} from {}) as one").format(texts, relation)
            return Bag(row[0] for row in session.execute(query))

    def twice(self, source: str) -> list[str]:
        """The streams that hold a primary key twice."""
        contract, found = self.contract(source), []
        for stream in contract.streams:
            if not stream.primary_key:
                continue
            key = sql.SQL(", ").join(map(sql.Identifier, stream.primary_key))
            query = sql.SQL("select 1 from {} group by {} having count(*) > 1 limit 1").format(
                sql.Identifier(contract.raw_schema, stream.name), key
            )
            if self.at("warehouse", query.as_string()):
                found.append(stream.name)
        return found

    def crm_differences(self) -> int:
        """How many records of the activation model are not in the CRM as they are."""
        columns = ", ".join(f"{name}::text" for name in ("external_id", *DELIVERED_COLUMNS))
        crm = set(self.at("crm", f"select {columns} from crm.contacts"))
        return len(
            set(self.at("warehouse", f"select {columns} from activation.activation_crm_contacts")) - crm
        )

    def api_differences(self) -> list[dict[str, Any]]:
        """The records of the activation model that the contacts API does not hold as they are."""
        fields = ("external_id", "email", "first_name", "customer_value", "segment", "last_order_at")
        held = self.contacts()
        rows = self.at("warehouse", f"select {', '.join(fields)} from activation.activation_contacts_api")
        records = [dict(zip(fields, row, strict=True)) for row in rows]
        return [record for record in records if _typed(held.get(record["external_id"], {})) != record]

    def contacts(self) -> dict[str, dict[str, Any]]:
        """Everything that the contacts API gives away, by id."""
        base = f"http://127.0.0.1:{self.stack.ports['contacts-api']}/v1/contacts?limit=1000"
        found: dict[str, dict[str, Any]] = {}
        after = ""
        while True:
            request = urllib.request.Request(
                f"{base}&after={after}",
                headers={"Authorization": f"Bearer {self.stack.secrets['CONTACTS_API_TOKEN']}"},
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                page = json.load(answer)
            found |= {one["id"]: one["properties"] for one in page["results"]}
            if "paging" not in page:
                return found
            after = page["paging"]["next"]["after"]

    def ledger(self, run: Run) -> dict[str, dict[str, Any]]:
        """The ledger's figures of a run's newest load, by stream."""
        rows = self.at(
            "warehouse",
            "select to_jsonb(s) from ledger.load_stream s where load_id ="
            " (select max(load_id) from ledger.load where run_id = %s and source = %s)",
            run.run_id,
            run.dag_id.removeprefix("ingest__"),
        )
        return {row[0]["stream"]: row[0] for row in rows}

    def books(self) -> list[str]:
        """What does not add up in any load that was published and in any delivery that ended."""
        loads = self.at(
            "warehouse",
            "select to_jsonb(s) from ledger.load_stream s join ledger.load l using (load_id)"
            " where l.status = 'published'",
        )
        syncs = self.at(
            "warehouse",
            "select sync || ', run ' || run_id from ledger.sync_run where status = 'delivered'"
            " and read <> unchanged + held + delivered + rejected + unsent",
        )
        return [text for (row,) in loads for text in unbalanced(row)] + [text for (text,) in syncs]

    def everything_agrees(self) -> None:
        """Source = raw, activation models = CRM and contacts API, and all books balance."""
        assert self.unequal(SHOP) == []
        assert self.twice(SHOP) == []
        assert self.crm_differences() == 0
        assert self.api_differences() == []
        assert self.books() == []


class Bag(frozenset[tuple[str, int]]):
    """Texts, each with how often it occurs."""

    def __new__(cls, texts: Any) -> Bag:
        from collections import Counter

        return super().__new__(cls, Counter(texts).items())


def _typed(properties: dict[str, Any]) -> dict[str, Any]:
    """What came as JSON, as the warehouse has it."""
    value, moment = properties.get("customer_value"), properties.get("last_order_at")
    return {
        **properties,
        "customer_value": None if value is None else Decimal(str(value)),
        "last_order_at": None if moment is None else datetime.fromisoformat(moment.replace("Z", "+00:00")),
    }
