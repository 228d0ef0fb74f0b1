"""What a running task knows: its connections, its contract, and the interval it is about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from airflow.sdk import BaseHook, get_current_context
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret

from include.core.connection import Connection, connection_from_environment
from include.core.contracts import contracts_folder, load_one
from include.core.contracts.common import DagContract
from include.core.contracts.load import KINDS
from include.core.errors import ContractError
from include.core.interval import Interval

C = TypeVar("C", bound=DagContract)
DBT_PROJECT = Path(__file__).resolve().parents[2] / "dbt_project"


def connect(conn_id: str) -> Connection:
    """A connection by its id, from wherever Airflow keeps it: environment, secrets backend or metadata database.

    :raises ContractError: it is in none of them.
    """
    found = connection_from_environment(conn_id)
    if found is not None:
        # Airflow did not read this one, so it does not know yet what must not stand in a log.
        mask_secret(found.password)
        return found
    try:
        airflow = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        raise ContractError(
            "there is no such connection",
            where=f"connection {conn_id!r}",
            allowed=f"AIRFLOW_CONN_{conn_id.upper()}, or a connection in the UI or in a secrets backend",
            todo="define it, or correct its name in the contract; then clear the task",
        ) from None
    return Connection(
        conn_id=conn_id,
        conn_type=airflow.conn_type or "",
        host=airflow.host or "",
        port=airflow.port,
        login=airflow.login or "",
        password=airflow.password or "",
        schema=airflow.schema or "",
        extra=json.loads(airflow.extra) if airflow.extra else {},
    )


def contract(kind: type[C], name: str) -> C:
    """The contract of that kind and name, read anew: tasks pass names, never objects."""
    return load_one(kind, contract_file(kind, name))


def contract_file(kind: type[DagContract], name: str) -> Path:
    """Where that contract stands."""
    return contracts_folder() / KINDS[kind][0] / f"{name}.yaml"


def run_id() -> str:
    """The run that this task belongs to."""
    return str(_run().run_id)


def params() -> dict[str, Any]:
    """What the trigger form was filled with."""
    return dict(get_current_context()["params"])


def is_backfill() -> bool:
    """Whether somebody asked for this run to do the past again."""
    return bool(_run().run_type == "backfill")


def interval() -> Interval:
    """The interval that this run is about. A manual run is about everything until it was asked for."""
    run = _run()
    if run.run_type == "manual" or run.data_interval_end is None:
        # A stamp that an application cuts to the second lies before the moment it was written.
        return Interval(None, run.run_after.replace(microsecond=0))
    return Interval(run.data_interval_start, run.data_interval_end)


def only_backfilled() -> bool:
    """Whether every asset event that started this run came from a backfill. A run started by hand has none."""
    events = [event for found in get_current_context()["triggering_asset_events"].values() for event in found]
    return bool(events) and all((event.extra or {}).get("backfill") for event in events)


def _run() -> Any:
    return get_current_context()["dag_run"]
