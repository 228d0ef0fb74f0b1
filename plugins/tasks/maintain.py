"""What is looked after every five minutes, whether a pipeline runs or not: tasks that have nothing to do with each other."""

from __future__ import annotations

import json
import urllib.request
from datetime import datetime, timezone
from typing import Any

from airflow.sdk import get_current_context, task
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowSkipException

from include.core.contracts.load import upkeep
from include.core.errors import Unreachable
from plugins.tasks import context, deadlines
from plugins.tasks.errors import translated

#: Parts of Airflow that watch, too, and what nobody would hear of without each.
_COMPONENTS = {
    "triggerer": "deadlines that count from the queueing of a run are silent until it lives again",
    "dag_processor": "changes of contracts and DAG files have no effect until it lives again",
}


@task
@translated
def look_after_incidents() -> None:
    """Tell what was held back, escalate what nobody has acknowledged."""
    from include.flows import incidents

    try:
        for done in incidents.look(context.connect):
            print(done)
    except Unreachable as error:
        # Every pipeline says so already, and this would say it every five minutes: without its ledger, as something new.
        raise AirflowSkipException(f"there is no ledger to look into: {error}") from None


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


@task
@translated
def write_model_docs() -> None:
    """The page of all models, when the project or what is published has changed since it was written."""
    from include.flows import model_docs

    try:
        written = model_docs.write(context.connect, context.DBT_PROJECT)
    except Unreachable as error:
        raise AirflowSkipException(f"there is no warehouse to describe: {error}") from None
    print("written" if written else "nothing has changed")


@task
@translated
def find_forgotten() -> list[str]:
    """The transforms that have not begun since a source of theirs was published, and of which no run is about to."""
    from include.flows import forgotten as flow

    found = []
    try:
        for name, load_id in flow.behind(context.connect, datetime.now(timezone.utc)).items():
            dag_id = f"transform__{name}"
            if not get_current_context()["ti"].get_dr_count(dag_id, states=["queued", "running"]):
                print(f"{dag_id} has not begun since load {load_id} was published")
                flow.started(context.connect, name, load_id)
                found.append(dag_id)
    except Unreachable as error:
        raise AirflowSkipException(f"there is no ledger to look into: {error}") from None
    return found


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
    from include.alerts.channels import send
    from include.flows import deadlines as flow

    healthy = said.get("status") == "healthy"
    beat = said.get(f"latest_{component}_heartbeat")
    since = datetime.fromisoformat(beat) if beat else datetime.fromtimestamp(0, timezone.utc)
    row = flow.alive(context.connect, component, healthy=healthy, since=since)
    if row is None:
        return
    name = component.replace("_", " ")
    told = upkeep().alerts.channels
    if row.reached_at:
        text = f"since {since:%Y-%m-%d %H:%M:%S} UTC"
        send(told, f"Airflow's {name} is alive again", text, context.connect, level="success")
        return
    last = f"{since:%Y-%m-%d %H:%M:%S} UTC" if beat else "never"
    what = f"its last sign of life: {last}\n{_COMPONENTS[component]}\nWhat to do:  start it again, and see its log"
    send(told, f"Airflow's {name} is not alive", what, context.connect)
    flow.told(context.connect, row)
