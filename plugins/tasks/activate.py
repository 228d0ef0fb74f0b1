"""The steps of a sync as tasks."""

from __future__ import annotations

import os
from typing import Any

from airflow.sdk import Param, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from include.core.contracts import SyncContract
from include.core.errors import MillraceError
from plugins.tasks import alerts, context, deadlines
from plugins.tasks.approval import APPROVE, PLAN
from plugins.tasks.errors import translated
from plugins.tasks.transform import MANIFEST

_SHARES = {
    "max_change_share": "of the known records that may change",
    "max_delete_share": "of what the destination holds that may be deleted; 1 lets an empty model empty it",
}
TRIGGER_FORM = {
    "dry_run": Param(
        False,
        type=["boolean", "null"],
        title="Dry run",
        description_md="Show the plan, with sample changes, in the log of `plan`, and send nothing.",
    ),
    **{
        name: Param(
            None,
            type=["number", "null"],
            minimum=0,
            maximum=1,
            title=f"{name}, for this run",
            description_md=f"Share {what}. Empty: as the contract says.",
        )
        for name, what in _SHARES.items()
    },
}


@task(task_id=PLAN, multiple_outputs=False)
@translated
def plan(sync: str) -> dict[str, Any]:
    """What the destination has not acknowledged. Nothing is sent after a backfill, in a dry run, or from an environment that
    the contract does not name."""
    from include.flows.status import serves_more_than_backfills

    flow = _flow(sync)
    planned = flow.plan(print)
    if context.only_backfilled() and not serves_more_than_backfills(
        context.connect, flow.contract.transform, sync
    ):
        raise AirflowSkipException(
            "started by a backfill: nothing is sent; trigger this DAG by hand to send it"
        )
    if context.params()["dry_run"]:
        raise AirflowSkipException("dry run: nothing is sent")
    if elsewhere := flow.held_by_environment():
        raise AirflowSkipException(f"nothing is sent: {elsewhere}")
    counts = {"creates": planned.creates, "updates": planned.updates, "deletes": planned.deletes}
    return {"ask": flow.needs_approval(planned), **counts}


@task
@translated
def deliver(sync: str) -> None:
    """The plan, in batches; each acknowledgement is remembered before the next batch."""
    _flow(sync).deliver(context.run_id(), _approved())


@task
@translated
def settle(sync: str) -> None:
    """The books of this run: read = delivered + rejected + unchanged + unsent, and deletes = deleted + rejected + unsent."""
    flow = _flow(sync)
    report = flow.settle(context.run_id())
    print(
        f"the books balance: {report.read} read = {report.delivered} delivered + {report.rejected} rejected"
        f" + {report.unchanged} unchanged + {report.unsent} unsent"
    )
    if report.deletes:
        print(
            f"{report.deletes} left the model = {report.deleted} deleted + {report.deletes_rejected} rejected"
            f" + {report.deletes_unsent} unsent"
        )
    deadlines.run_ended(flow.contract)


@task
@translated
def verify(sync: str) -> None:
    """Whether the destination holds what it acknowledged. What others changed there is told as a warning."""
    flow = _flow(sync)
    found = flow.verify(context.run_id())
    print(found)
    if found.drifted:
        error = MillraceError("records were changed at the destination", where=f"sync {sync!r}")
        alerts.warn_of("activate", sync, error, str(found))


def _flow(sync: str) -> Any:
    """The sync, with what the trigger form says of its breakers."""
    from include.flows.syncs import Sync

    given = {name: context.params()[name] for name in _SHARES}
    shares = {name: share for name, share in given.items() if share is not None}
    contract = context.contract(SyncContract, sync).model_copy(update=shares)
    return Sync(contract, context.connect, MANIFEST, os.environ.get("MILLRACE_ENVIRONMENT") or "local")


def _approved() -> Any:
    """What somebody approved in this run; None where nobody was asked."""
    from include.activation import Approved

    ti = get_current_context()["ti"]
    answer = ti.xcom_pull(task_ids=APPROVE)
    if not answer:
        return None
    planned, by = ti.xcom_pull(task_ids=PLAN), answer["responded_by_user"]
    counts = {name: planned[name] for name in ("creates", "updates", "deletes")}
    return Approved(**counts, by=(by or {}).get("name") or "somebody")
