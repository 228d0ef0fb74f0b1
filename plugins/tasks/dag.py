"""What every contract means as a DAG: owner, tags, retries, timeouts, documentation, alerts and deadline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, time, timezone
from pathlib import Path
from typing import Any, TypeVar

from airflow.sdk import (
    DAG,
    Asset,
    AssetAny,
    CronDataIntervalTimetable,
    task,
)
from airflow.sdk.exceptions import AirflowFailException

from include.core.contracts import SyncContract, TransformContract, load_one
from include.core.contracts.common import DagContract, Schedule
from include.core.contracts.load import DAG_KINDS, contract_files, name_of
from include.core.contracts.still import StillSaid, still_said
from include.core.contracts.upkeep import Upkeep
from include.core.errors import ContractError
from plugins.tasks.alerts import FailureAlert
from plugins.tasks.deadlines import FailureNoted, deadline_alert
from plugins.tasks.docs import documentation

C = TypeVar("C", bound=DagContract)


def raw_asset(source: str) -> Asset:
    """A source's raw tables, as something that other DAGs wait for."""
    return Asset(
        name=f"raw_{source}",
        uri=f"x-millrace://raw/{source}",
        group="raw",
        extra={"schema": f"raw_{source}", "contract": f"include/contracts/sources/{source}.yaml"},
    )


def marts_asset(transform: str) -> Asset:
    """A transform's published marts."""
    return Asset(
        name=f"marts_{transform}",
        uri=f"x-millrace://marts/{transform}",
        group="marts",
        extra={
            "schemas": ["marts", "activation"],
            "contract": f"include/contracts/transforms/{transform}.yaml",
        },
    )


def dag_arguments(contract: DagContract) -> dict[str, Any]:
    """The arguments of `DAG` that follow from any contract."""
    kind, name = DAG_KINDS[type(contract)], name_of(contract)
    return {
        "dag_id": kind if isinstance(contract, Upkeep) else f"{kind}__{name}",
        "description": contract.description,
        "doc_md": documentation(contract),
        "tags": [kind, *contract.tags],
        "catchup": False,
        "max_active_runs": 1,
        "default_args": {
            "owner": contract.owner.team,
            "retries": contract.retry.attempts,
            "retry_delay": contract.retry.delay,
            "retry_exponential_backoff": True,
            "execution_timeout": contract.task_timeout,
            "on_failure_callback": [
                FailureAlert(kind, name),
                # Airflow knows by itself whether a run whose deadline it watches has failed.
                *([FailureNoted(kind, name)] if contract.deadline.at else ()),
            ],
        },
        "deadline": deadline_alert(contract),
    }


def first_day(schedule: Schedule) -> datetime:
    """The start of the first day that an ingest speaks of."""
    return datetime.combine(schedule.start, time.min, timezone.utc)


def contracts_or_faults(kind: type[C], build: Callable[[C], DAG]) -> Iterator[DAG]:
    """One DAG for each contract file of a kind. A file with faults becomes a DAG that tells them, and all others go on."""
    for path in contract_files(kind):
        try:
            yield build(load_one(kind, path))
        except ContractError as error:
            yield _broken_dag(kind, path, str(error))


def _broken_dag(contract_kind: type[DagContract], path: Path, faults: str) -> DAG:
    """Turns red when its pipeline was due, and tells those who rely on it: else all would just stay as it is, in silence."""
    kind, name, said = DAG_KINDS[contract_kind], path.stem, still_said(path)
    with DAG(
        dag_id=f"{kind}__{name}",
        description="Its contract has faults, and nothing runs until they are corrected.",
        schedule=_schedule(contract_kind, said),
        start_date=first_day(said.schedule),
        catchup=False,
        max_active_runs=1,
        tags=[kind, "broken contract"],
        doc_md=f"# This contract has faults\n\n```\n{faults}\n```\n\nCheck it with `millrace contract check`.",
        default_args={
            "owner": said.owner.team,
            "retries": 0,
            "on_failure_callback": [FailureAlert(kind, name)],
        },
    ) as dag:

        @task
        def read_contract() -> None:
            """Fails with the faults of the contract."""
            raise AirflowFailException(faults)

        read_contract()
    return dag


def _schedule(kind: type[DagContract], said: StillSaid) -> Any:
    """When the pipeline was due, as far as its contract still says so."""
    if kind is TransformContract and said.sources:
        return AssetAny(*(raw_asset(source) for source in said.sources))
    if kind is SyncContract and said.transform:
        return [marts_asset(said.transform)]
    return CronDataIntervalTimetable(said.schedule.cron, said.schedule.timezone)
