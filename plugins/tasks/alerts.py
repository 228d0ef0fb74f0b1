"""Alerts: what broke, since when, what is affected, what to do, and the link. A dead channel never fails a pipeline."""

from __future__ import annotations

import json
import logging
from datetime import datetime
from typing import Any

from airflow.sdk import BaseNotifier

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
        text = body(
            self.kind,
            self.name,
            str(context.get("exception") or "no reason given"),
            task.run_id,
            task.log_url,
        )
        send(self.channels, title, text)


def body(kind: str, name: str, what: str, run: str, link: str) -> str:
    """The text of an alert: what broke, since when, what is affected, what to do, where to look."""
    contract = contract_of(kind, name)
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


def note(contract: DagContract, what: str, link: str) -> str:
    """The text of a note that something is over."""
    lines = [
        f"Now:         {what}",
        f"For:         {_affected(contract)}",
        f"Owner:       {contract.owner.team} ({contract.owner.contact})",
        f"See:         {link}",
    ]
    return "\n".join(lines)


def contract_of(kind: str, name: str) -> DagContract:
    """The contract of a DAG, or what it still says when it has faults: those may be what broke."""
    from plugins.tasks import context

    try:
        return context.contract(_CONTRACTS[kind], name)
    except ContractError:
        return still_said(context.contract_file(_CONTRACTS[kind], name))


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


def send(channels: tuple[str, ...] | list[str], title: str, body: str, *, over: bool = False) -> None:
    """Send to every channel. What a channel refuses is logged; the next one is tried all the same.

    :param over: it is good news.
    """
    log.warning("ALERT %s\n%s", title, body)
    for channel in channels:
        try:
            delivered = _notify(channel, title, body, over)
        except Exception:  # whatever is wrong with a channel must not hide the failure that it should tell of
            log.exception("alert channel %r is broken; the alert above was not delivered there", channel)
            continue
        if not delivered:
            log.error("alert channel %r did not take the alert above", channel)


def _notify(channel: str, title: str, body: str, over: bool) -> bool:
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
    kind = apprise.NotifyType.SUCCESS if over else apprise.NotifyType.FAILURE
    return bool(notifier.notify(body=body, title=title, notify_type=kind))
