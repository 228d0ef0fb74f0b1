"""Who is told that data is late, too old, or there at last; and what a run tells the history of deadlines."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import AsyncCallback, BaseNotifier, DeadlineAlert, DeadlineReference, get_current_context
from airflow.sdk.configuration import conf

from include.core.contracts.common import DagContract
from include.core.contracts.load import DAG_KINDS, name_of
from include.core.incident import Trouble
from plugins.tasks import context

if TYPE_CHECKING:
    from include.flows.deadlines import Finding

log = logging.getLogger("millrace.alerts")
_TITLES = {
    "at": "missed its deadline",
    "after_queueing": "missed its deadline",
    "freshness": "has data that is too old",
}
#: Kinds of DAGs whose deadlines have a history.
_JUDGED = ("ingest", "transform", "activate")


def deadline_alert(contract: DagContract) -> DeadlineAlert | None:
    """What Airflow watches from a run's queueing on; a time of day is watched by the DAG `maintain`."""
    if contract.deadline.after_queueing is None:
        return None
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=contract.deadline.after_queueing,
        callback=AsyncCallback(
            missed_deadline, {"kind": DAG_KINDS[type(contract)], "name": name_of(contract)}
        ),
    )


async def missed_deadline(kind: str, name: str, context: dict[str, Any]) -> None:
    """Tells a contract's channels that a run is later than agreed. Called by Airflow in the triggerer.

    Only runs that somebody waits for count: a backfill does the past again and is never late.
    """
    if context["dag_run"]["run_type"] != "backfill":
        await asyncio.to_thread(_missed, kind, name, context["dag_run"], context["deadline"]["deadline_time"])


def _missed(kind: str, name: str, run: dict[str, Any], due: Any) -> None:
    from include.flows import deadlines, run_deadlines

    facts = run_deadlines.RunFacts(
        run_id=run["dag_run_id"],
        run_type=run["run_type"],
        run_after=_moment(run["run_after"]),
        interval_end=_moment(run["data_interval_end"]) if run["data_interval_end"] else None,
        started_at=_moment(run["start_date"] or run["queued_at"]),
    )
    row = None
    if facts.counts and kind in _JUDGED:
        try:
            row = run_deadlines.missed(context.connect, kind, name, facts, _moment(due))
        except Exception:  # people are told also when the warehouse is what broke
            log.exception("the missed deadline could not be written into the ledger")
    if row and row.met:
        return  # it was published in time, and only its last tasks were not done
    what = f"the run was queued at {run['queued_at']} and is {run['state']}; it should have ended by {due}"
    link = f"{_base_url()}/dags/{run['dag_id']}/runs/{run['dag_run_id']}"
    title = f"{run['dag_id']} missed its deadline"
    # of what has no history, a success ends it as any failure
    event = "missed_deadline" if kind in _JUDGED else "failure"
    trouble = Trouble(kind, name, event, ("after_queueing",), title, what, run["dag_run_id"], link)
    _tell_late(trouble, failed=run["state"] == "failed")
    if row:
        deadlines.told(context.connect, row)


class FailureNoted(BaseNotifier):
    """Notes in the history of deadlines that a failure was told."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__()
        self.kind, self.name = kind, name

    def notify(self, context: Any) -> None:
        """Called by Airflow in the process of the failed task."""
        from include.flows import run_deadlines
        from plugins.tasks.context import connect

        if context["dag_run"].run_type != "backfill":
            run_deadlines.failed(connect, self.kind, self.name)


def run_ended(contract: DagContract) -> None:
    """What the end of this run means for deadlines; when its data is there, tells those who have heard that it is late.

    Called in its last task.
    """
    from include.flows import deadlines, incidents, run_deadlines

    if context.is_backfill() or context.only_backfilled():
        return
    run = get_current_context()["dag_run"]
    facts = run_deadlines.RunFacts(
        run_id=run.run_id,
        run_type=str(getattr(run.run_type, "value", run.run_type)),
        run_after=run.run_after,
        interval_end=run.data_interval_end,
        started_at=run.start_date or run.run_after,
    )
    there, late = run_deadlines.ended(context.connect, contract, facts)
    if there:
        # also of one that waited in the queue until it was late: of that only Airflow knows
        over = deadlines.how_late(late) if late else f"run {run.run_id}"
        kind, name = DAG_KINDS[type(contract)], name_of(contract)
        incidents.late_over(kind, name, "after_queueing", over, context.connect)


def tell(finding: Finding) -> None:
    """Tell engineers and consumers of a finding of the watch."""
    from include.flows import deadlines, incidents

    row = finding.deadline
    if finding.over:
        incidents.late_over(row.kind, row.name, row.rule, finding.what, context.connect)
        return
    dag_id = f"{row.kind}__{row.name}"
    link = f"{_base_url()}/dags/{dag_id}" + (f"/runs/{row.run_id}" if row.run_id else "")
    run = row.run_id or "none of its own: judged by what consumers have"
    title = f"{dag_id} {_TITLES[row.rule]}"
    trouble = Trouble(row.kind, row.name, "missed_deadline", (row.rule,), title, finding.what, run, link)
    _tell_late(trouble, failed=row.failed_at is not None)
    deadlines.told(context.connect, row)


def _tell_late(trouble: Trouble, *, failed: bool) -> None:
    """Tell that data is late; who has heard of a failure does not hear of what that leads to, too."""
    from include.flows import incidents, messages

    told = messages.contract_of(trouble.kind, trouble.name).alerts
    if not (failed and set(told.on_missed_deadline) <= set(told.on_failure)):
        incidents.tell(trouble, context.connect)


def _base_url() -> str:
    return str(conf.get("api", "base_url", fallback="")).rstrip("/")


def _moment(text: Any) -> datetime:
    """A time as Airflow hands it to a callback: text, or a datetime."""
    return datetime.fromisoformat(str(text))
