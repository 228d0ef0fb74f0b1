"""Alerts: what broke, since when, what is affected, what to do, and the link. A dead channel never fails a pipeline."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import datetime
from typing import Any

from airflow.sdk import BaseNotifier
from airflow.sdk.configuration import conf

from include.core.contracts import SourceContract, SyncContract, TransformContract
from include.core.contracts.affected import affected
from include.core.contracts.common import DagContract
from include.core.contracts.still import StillSaid, still_said
from include.core.errors import ContractError

log = logging.getLogger("millrace.alerts")
_CONTRACTS: dict[str, type[DagContract]] = {
    "ingest": SourceContract,
    "transform": TransformContract,
    "activate": SyncContract,
}


class FailureAlert(BaseNotifier):
    """Tells a contract's channels that a task has failed for good.

    :param kind: ingest, transform or activate. :param channels: ids of Airflow connections of type apprise.
    """

    def __init__(self, kind: str, name: str, channels: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.kind, self.name, self.channels = kind, name, channels

    def notify(self, context: Any) -> None:
        """Compose and send. Called by Airflow in the process of the failed task."""
        task = context["task_instance"]
        part = (
            f"{task.task_id}[{task.rendered_map_index or task.map_index}]"
            if task.map_index >= 0
            else task.task_id
        )
        title = f"{task.dag_id} failed at {part}"
        body = _body(
            self.kind,
            self.name,
            str(context.get("exception") or "no reason given"),
            task.run_id,
            task.log_url,
        )
        send(self.channels, title, body)


async def missed_deadline(kind: str, name: str, channels: list[str], context: dict[str, Any]) -> None:
    """Tells a contract's channels that a run is later than agreed. Called by Airflow in the triggerer.

    Only runs that somebody relies on count: a backfill does the past again and is never late.
    """
    run = context["dag_run"]
    if run["run_type"] == "backfill":
        return
    link = f"{conf.get('api', 'base_url').rstrip('/')}/dags/{run['dag_id']}/runs/{run['dag_run_id']}"
    due = context["deadline"]["deadline_time"]
    reason = f"the run was queued at {run['queued_at']} and is {run['state']}; it should have ended by {due}"
    await asyncio.to_thread(_send_missed, kind, name, channels, run, reason, link)


def _send_missed(
    kind: str, name: str, channels: list[str], run: dict[str, Any], reason: str, link: str
) -> None:
    send(channels, f"{run['dag_id']} missed its deadline", _body(kind, name, reason, run["dag_run_id"], link))


def _body(kind: str, name: str, what: str, run: str, link: str) -> str:
    contract = _contract(_CONTRACTS[kind], name)
    lines = [
        f"What broke:  {what}",
        f"Since:       {_since(kind, name, run)}",
        f"Affected:    {_affected(contract)}",
        f"Owner:       {contract.owner.team} ({contract.owner.contact})",
        f"What to do:  {_todo(contract)}",
        f"Run:         {run}",
        f"Log:         {link}",
    ]
    return "\n".join(lines)


def _contract(kind: type[DagContract], name: str) -> DagContract:
    from plugins.tasks import context

    try:
        return context.contract(kind, name)
    except ContractError:  # which may be what broke
        return still_said(context.contract_file(kind, name))


def _todo(contract: DagContract) -> str:
    if isinstance(contract, StillSaid):
        return "correct the contract; `millrace contract check` names each of its faults"
    return contract.runbook.strip() or "read the log, remove the cause, clear the run"


def _affected(contract: DagContract) -> str:
    if isinstance(contract, StillSaid):
        return "all that its data goes to: nothing moves until its contract is corrected"
    try:
        return "; ".join(affected(contract)) or "nothing that a contract names"
    except ContractError as error:  # another contract's fault must not keep this alert back
        return f"not known, a contract has faults: {error}"


def _since(kind: str, name: str, run: str) -> str:
    from include.flows.status import last_good, rejected
    from plugins.tasks.context import connect

    try:
        streams = rejected(name, run, connect) if kind == "ingest" else ()
        good: datetime | None = last_good(kind, name, connect, streams)
    except Exception as error:  # an alert goes out also when the warehouse is what broke
        return f"unknown, the ledger could not be read ({type(error).__name__})"
    return f"the last good state is of {good:%Y-%m-%d %H:%M:%S} UTC" if good else "it has never succeeded"


def send(channels: tuple[str, ...] | list[str], title: str, body: str) -> None:
    """Send to every channel. What a channel refuses is logged; the next one is tried all the same."""
    log.warning("ALERT %s\n%s", title, body)
    for channel in channels:
        try:
            delivered = _notify(channel, title, body)
        except Exception:  # whatever is wrong with a channel must not hide the failure that it should tell of
            log.exception("alert channel %r is broken; the alert above was not delivered there", channel)
            continue
        if not delivered:
            log.error("alert channel %r did not take the alert above", channel)


def _notify(channel: str, title: str, body: str) -> bool:
    import apprise

    from plugins.tasks import alertlog  # noqa: F401  # registers alertlog:// with Apprise
    from plugins.tasks.context import connect

    config = connect(channel).extra["config"]
    entries = json.loads(config) if isinstance(config, str) else config
    notifier = apprise.Apprise()
    for entry in entries if isinstance(entries, list) else [entries]:
        if not notifier.add(entry["path"], tag=entry.get("tag")):
            log.error("alert channel %r has an address that Apprise does not know", channel)
            return False
    return bool(notifier.notify(body=body, title=title, notify_type=apprise.NotifyType.FAILURE))
