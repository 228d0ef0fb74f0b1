"""The steps that look after everything else, as tasks."""

from __future__ import annotations

import asyncio
import json
import logging
import urllib.request
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.sdk import (
    AsyncCallback,
    BaseNotifier,
    DeadlineAlert,
    DeadlineReference,
    get_current_context,
    task,
)
from airflow.sdk.configuration import conf

from include.core.contracts import SourceContract, SyncContract, TransformContract
from include.core.contracts.common import DagContract
from include.core.contracts.load import contract_files
from include.core.contracts.still import still_said
from plugins.tasks import alerts, context, deadlines
from plugins.tasks.errors import translated

log = logging.getLogger("millrace.alerts")
DOCUMENTATION = """
**watch_deadlines** judges each contract's `deadline.at` and `freshness`, sees that a run has begun for each interval of each
schedule, and that triggerer and DAG processor live. What it found stands in `ledger.deadline`: `millrace deadlines`.

## When it fails

Nobody is told of data that is late at a time of day, or too old, until a run goes well again; then all that was missed
meanwhile is judged. Read the log of the task: most often the warehouse or the api-server was not there.
"""
#: What watches beside this DAG, and what nobody would hear of without it.
_COMPONENTS = {
    "triggerer": "deadlines that count from the queueing of a run are silent until it lives again",
    "dag_processor": "changes of contracts and DAG files have no effect until it lives again",
}


@task
@translated
def watch_deadlines() -> None:
    """Whether data is where it has to be by now, runs have begun, and the parts of Airflow live that tell of late runs."""
    from include.flows import deadlines as flow

    now = datetime.now(timezone.utc)
    for finding in flow.watch(context.connect, _began, now):
        print(f"{finding.deadline.kind} {finding.deadline.name}: {finding.what}")
        deadlines.tell(finding)
    health = _health()
    for component in _COMPONENTS:
        _watch_component(component, health.get(component) or {})


def _began(dag_id: str, logical_dates: list[datetime]) -> bool:
    count: int = get_current_context()["ti"].get_dr_count(dag_id, logical_dates=logical_dates)
    return bool(logical_dates) and count > 0


def _health() -> dict[str, Any]:
    """What the api-server says of the parts of Airflow. Asked where tasks reach it, which may not be where people do."""
    server = conf.get("core", "execution_api_server_url", fallback="") or conf.get("api", "base_url")
    url = server.rstrip("/").removesuffix("/execution") + "/api/v2/monitor/health"
    with urllib.request.urlopen(url, timeout=30) as answer:
        health: dict[str, Any] = json.load(answer)
    return health


def _watch_component(component: str, said: dict[str, Any]) -> None:
    from include.flows import deadlines as flow

    healthy = said.get("status") == "healthy"
    beat = said.get(f"latest_{component}_heartbeat")
    since = datetime.fromisoformat(beat) if beat else datetime.fromtimestamp(0, timezone.utc)
    row = flow.alive(context.connect, component, healthy=healthy, since=since)
    if row is None:
        return
    name = component.replace("_", " ")
    if row.reached_at:
        alerts.send(
            _channels(), f"Airflow's {name} is alive again", f"since {since:%Y-%m-%d %H:%M:%S} UTC", over=True
        )
        return
    last = f"{since:%Y-%m-%d %H:%M:%S} UTC" if beat else "never"
    what = f"its last sign of life: {last}\n{_COMPONENTS[component]}\nWhat to do:  start it again, and see its log"
    alerts.send(_channels(), f"Airflow's {name} is not alive", what)
    flow.told(context.connect, row)


def _channels() -> tuple[str, ...]:
    """All who are told of late runs, of any contract."""
    kinds: tuple[type[DagContract], ...] = (SourceContract, TransformContract, SyncContract)
    told = [
        c
        for kind in kinds
        for path in contract_files(kind)
        for c in still_said(path).alerts.on_missed_deadline
    ]
    return tuple(dict.fromkeys(told))


class WatchFailed(BaseNotifier):
    """Tells that nobody watches; once, until a pass has gone well."""

    def notify(self, context: Any) -> None:
        """Called by Airflow in the process of the failed task."""
        before = context["ti"].get_previous_dagrun()
        if before is None or before.state != "failed":
            why = f"{context.get('exception')}\nRun:         {context['run_id']}\nLog:         {context['ti'].log_url}"
            alerts.send(_channels(), "maintain failed: nobody watches deadlines", why)


async def watch_is_late(context: dict[str, Any]) -> None:
    """Tells that the watch is late. Called by Airflow in the triggerer: the two watch each other."""
    what = f"the run {context['dag_run']['dag_run_id']} is {context['dag_run']['state']}"
    await asyncio.to_thread(alerts.send, _channels(), "maintain is late: nobody watches deadlines", what)


#: For a DAG that watches every few minutes.
WATCH_IS_LATE = DeadlineAlert(
    reference=DeadlineReference.DAGRUN_QUEUED_AT,
    interval=timedelta(minutes=15),
    callback=AsyncCallback(watch_is_late),
)
