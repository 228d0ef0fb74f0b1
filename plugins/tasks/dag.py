"""What every contract means as a DAG: owner, tags, retries, timeouts, documentation, alerts and deadline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, time, timezone
from typing import Any, TypeVar

from airflow.sdk import DAG, Asset, AsyncCallback, DeadlineAlert, DeadlineReference, task
from airflow.sdk.exceptions import AirflowFailException

from include.core.contracts import SourceContract, SyncContract, TransformContract, load_one
from include.core.contracts.common import DagContract
from include.core.contracts.load import contract_files
from include.core.errors import ContractError
from plugins.tasks.alerts import FailureAlert, missed_deadline
from plugins.tasks.docs import documentation

C = TypeVar("C", bound=DagContract)
#: Kind of DAG and name field of each kind of contract.
KINDS: dict[type[DagContract], tuple[str, str]] = {
    SourceContract: ("ingest", "source"),
    TransformContract: ("transform", "transform"),
    SyncContract: ("activate", "sync"),
}


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
    kind, name_field = KINDS[type(contract)]
    name = getattr(contract, name_field)
    return {
        "dag_id": f"{kind}__{name}",
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
            "on_failure_callback": [FailureAlert(kind, name, contract.alerts.on_failure)],
        },
        "deadline": DeadlineAlert(
            reference=DeadlineReference.DAGRUN_QUEUED_AT,
            interval=contract.deadline.after_queueing,
            callback=AsyncCallback(
                missed_deadline,
                {"kind": kind, "name": name, "channels": list(contract.alerts.on_missed_deadline)},
            ),
        ),
    }


def first_day(contract: SourceContract) -> datetime:
    """The start of the first day that an ingest speaks of."""
    return datetime.combine(contract.schedule.start, time.min, timezone.utc)


def contracts_or_faults(kind: type[C], build: Callable[[C], DAG]) -> Iterator[DAG]:
    """One DAG for each contract file of a kind. A file with faults becomes a DAG that shows them, and all others go on."""
    for path in contract_files(kind):
        try:
            yield build(load_one(kind, path))
        except ContractError as error:
            yield _broken_dag(KINDS[kind][0], path.stem, str(error))


def _broken_dag(kind: str, name: str, faults: str) -> DAG:
    with DAG(
        dag_id=f"{kind}__{name}",
        schedule=None,
        tags=[kind, "broken contract"],
        doc_md=f"# This contract has faults\n\n```\n{faults}\n```\n\nCheck it with `millrace contract check`.",
        default_args={"owner": "unknown", "retries": 0},
    ) as dag:

        @task
        def read_contract() -> None:
            raise AirflowFailException(faults)

        read_contract()
    return dag
