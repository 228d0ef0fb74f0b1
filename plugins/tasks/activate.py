"""The steps of a sync as tasks."""

from __future__ import annotations

from airflow.sdk import Param, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from include.core.contracts import SyncContract
from include.core.errors import MillraceError
from plugins.tasks import alerts, context, deadlines
from plugins.tasks.errors import translated

TRIGGER_FORM = {
    "dry_run": Param(
        False,
        type=["boolean", "null"],
        title="Dry run",
        description_md="Show the plan, with sample changes, in the log of `plan`, and send nothing.",
    )
}


@task
@translated
def plan(sync: str) -> None:
    """What the destination has not acknowledged. Nothing is sent after a backfill, or in a dry run."""
    import include.activation as activation

    contract = context.contract(SyncContract, sync)
    planned = activation.plan(contract, context.connect("warehouse_activator"))
    for change in planned.samples:
        print(f"for example: {change.action} {change.key}")
    if context.only_backfilled():
        raise AirflowSkipException(
            "started by a backfill: nothing is sent; trigger this DAG by hand to send it"
        )
    if context.params()["dry_run"]:
        raise AirflowSkipException("dry run: nothing is sent")


@task
@translated
def deliver(sync: str) -> None:
    """The plan, in batches; each acknowledgement is remembered before the next batch."""
    import include.activation as activation

    contract = context.contract(SyncContract, sync)
    activation.run(
        contract,
        context.connect("warehouse_activator"),
        context.connect(contract.destination.connection),
        run_id=context.run_id(),
    )


@task
@translated
def settle(sync: str) -> None:
    """The books of this run: read = delivered + rejected + unchanged + unsent."""
    import include.activation as activation

    report = activation.settle(
        context.contract(SyncContract, sync),
        context.connect("warehouse_activator"),
        run_id=get_current_context()["run_id"],
    )
    print(
        f"the books balance: {report.read} read = {report.delivered} delivered + {report.rejected} rejected"
        f" + {report.unchanged} unchanged + {report.unsent} unsent"
    )
    deadlines.run_ended(context.contract(SyncContract, sync))


@task
@translated
def verify(sync: str) -> None:
    """Whether the destination holds what it acknowledged. What others changed there is told as a warning."""
    import include.activation as activation

    contract = context.contract(SyncContract, sync)
    found = activation.verify(
        contract,
        context.connect("warehouse_activator"),
        context.connect(contract.destination.connection),
        run_id=context.run_id(),
        everything=contract.verify == "all",
        overwrite=contract.on_drift == "overwrite",
    )
    print(found)
    if found.drifted:
        error = MillraceError("records were changed at the destination", where=f"sync {sync!r}")
        alerts.warn_of("activate", sync, error, str(found))
