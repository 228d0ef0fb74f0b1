"""Incidents: one for each cause. Told once, counted when it comes again, escalated when nobody has it, told when it is over.

    tell   something went wrong      over, late_over   a run has succeeded, data is there      look   what no run looks after

All but the last never raise: no alert is worth a run. One goes out also when the ledger cannot keep it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timezone

from include.alerts.channels import Level, send, undelivered
from include.core.contracts.affected import hurt
from include.core.contracts.common import DagContract
from include.core.errors import ContractError, TerminalError
from include.core.incident import Incident, Trouble, channels_for, severity_of
from include.flows import messages
from include.flows.status import Connect, last_good
from include.warehouse import incidents
from include.warehouse.connect import connected

log = logging.getLogger("millrace.alerts")
#: The connection of whoever tells: a task, the triggerer, the DAG processor, a person.
TELLER = "warehouse_developer"


def tell(trouble: Trouble, connect: Connect) -> None:
    """Record it, and tell the channels of its contract when it is new, or was told too long ago."""
    contract = messages.contract_of(trouble.kind, trouble.name)
    severity = severity_of(trouble.event, contract.alerts)
    window = contract.alerts.in_maintenance(datetime.now(timezone.utc))
    try:
        with connected(connect(TELLER)) as session, session.transaction():
            found = incidents.record(session, trouble, severity)
            ids = [one.incident_id for one in found]
            due = [] if window else incidents.claim(session, ids, contract.alerts.remind_after)
    except Exception as error:
        log.warning("the ledger did not keep this incident, so it is told each time: %s", error)
        why = f"not recorded, the ledger could not be written ({type(error).__name__})"
        _send(trouble, contract, connect, why, severity)
        return
    if not due:
        held = f"; not told until {window.until}: {window.why}" if window else ""
        log.warning("%s: counted as incident %s%s\n%s", trouble.title, ids, held, trouble.what)
        return
    _tell(trouble, contract, due, connect)


def over(kind: str, name: str, run_id: str, connect: Connect, *, backfill: bool = False) -> None:
    """End the open incidents of a contract with the run that succeeded, and tell who was told of them."""
    contract = messages.contract_of(kind, name)
    try:
        with connected(connect(TELLER)) as session:
            ended = incidents.resolve(session, kind, name, run_id, backfill=backfill)
    except Exception as error:
        log.warning("whether this ends an incident is not known, the ledger cannot be asked: %s", error)
        return
    _told_over(ended, contract, f"run {run_id}", connect)


def late_over(kind: str, name: str, rule: str, by: str, connect: Connect) -> None:
    """End the incident that data is late or too old, and tell who was told of it. :param by: with what it is over."""
    try:
        with connected(connect(TELLER)) as session:
            ended = incidents.resolve_late(session, kind, name, rule, by)
    except Exception as error:
        log.warning("whether this ends an incident is not known, the ledger cannot be asked: %s", error)
        return
    _told_over(ended, messages.contract_of(kind, name), by, connect)


def _told_over(ended: Sequence[Incident], contract: DagContract, by: str, connect: Connect) -> None:
    """One note for all that ended with it, to whoever was told that it began."""
    told = [one for one in ended if one.told_at]
    if not told:
        return
    first, alerts = told[0], contract.alerts
    channels = [channel for one in told for channel in channels_for(one.event, alerts)]
    if alerts.escalate and any(one.escalated_at for one in told):
        channels += alerts.escalate.to
    warned = all(one.event == "warning" for one in told)
    which = "backfill" if first.backfill else "warning" if warned else "trouble"
    title = f"{messages.dag_id(first.kind, first.name)}: {which} is over"
    body = messages.recovery(told, by)
    send(list(dict.fromkeys(channels)), title, body, connect, level="success", spare=alerts.channels)
    if any(_for_consumers(one.trouble, one.severity) for one in told):
        for words, each in _readers(contract):
            send(each.alerts.consumers, f"{words}: new data comes again", body, connect, level="success")


def look(connect: Connect) -> list[str]:
    """Tell what was held back by a maintenance window or by dead channels, and escalate what nobody has acknowledged.

    :returns: what was done, a line each. :raises MillraceError: the ledger cannot be read.
    """
    with connected(connect(TELLER)) as session:
        waiting = incidents.open_incidents(session)
    done = []
    for one in waiting:
        contract = messages.contract_of(one.kind, one.name)
        if contract.alerts.in_maintenance(datetime.now(timezone.utc)):
            continue
        if one.told_at is None:
            with connected(connect(TELLER)) as session:
                due = incidents.claim(session, [one.incident_id], contract.alerts.remind_after)
            if due:
                _tell(one.trouble, contract, due, connect)
                done.append(f"told incident {one.incident_id}: {one.title}")
        elif _escalate(one, contract, connect):
            done.append(f"escalated incident {one.incident_id}: {one.title}")
    return done


def listed(connect: Connect, *, everything: bool) -> list[Incident]:
    """The open incidents, the oldest first; or the newest hundred of all."""
    with connected(connect(TELLER)) as session:
        return incidents.newest(session, 100) if everything else incidents.open_incidents(session)


def the_one(connect: Connect, incident_id: int) -> Incident:
    """One incident.

    :raises TerminalError: there is none of this number.
    """
    with connected(connect(TELLER)) as session:
        return _only(incidents.find(session, incident_id), incident_id)


def acknowledge(connect: Connect, incident_id: int, by: str, note: str) -> Incident:
    """Somebody has it.

    :raises TerminalError: no open incident has this number.
    """
    with connected(connect(TELLER)) as session:
        return _only(incidents.acknowledge(session, incident_id, by, note), incident_id)


def close_by_hand(connect: Connect, incident_id: int, by: str, note: str) -> Incident:
    """It is over by the word of a person; who was told of it is told that.

    :raises TerminalError: no open incident has this number.
    """
    with connected(connect(TELLER)) as session:
        one = _only(incidents.close(session, incident_id, by, note), incident_id)
    _told_over([one], messages.contract_of(one.kind, one.name), f"{by}: {note}" if note else by, connect)
    return one


def _only(found: list[Incident], incident_id: int) -> Incident:
    if found:
        return found[0]
    raise TerminalError(
        "no such incident is open", received=incident_id, allowed="a number that `millrace incidents` shows"
    )


def try_channels(dag_id: str, connect: Connect) -> dict[str, str]:
    """Send a test message to every channel of a DAG's contract. Returns why a channel did not take it, by channel.

    :raises ContractError: no contract makes this DAG, or it has faults.
    """
    contract = messages.contract_named(dag_id)
    title = f"{dag_id}: a test of its alerts"
    body = "Somebody tries whether alerts arrive. Nothing is wrong."
    channels = dict.fromkeys((*contract.alerts.channels, *contract.alerts.consumers))
    return {channel: undelivered(channel, title, body, connect, "info") for channel in channels}


def _escalate(one: Incident, contract: DagContract, connect: Connect) -> bool:
    escalate = contract.alerts.escalate
    if escalate is None:
        return False
    with connected(connect(TELLER)) as session:
        due = incidents.claim_escalation(session, one.incident_id, escalate.after)
    if not due:
        return False
    title = f"nobody has acknowledged: {one.title}"
    body = messages.alert(one.trouble, contract, connect, messages.incident_line(due))
    if send(escalate.to, title, body, connect, spare=contract.alerts.channels):
        return True
    with connected(connect(TELLER)) as session:
        incidents.give_back_escalation(session, one.incident_id)
    return False


def _tell(trouble: Trouble, contract: DagContract, due: Sequence[Incident], connect: Connect) -> None:
    line = messages.incident_line(due)
    if _send(trouble, contract, connect, line, due[0].severity):
        return
    # Nobody has it: `look` will try again.
    try:
        with connected(connect(TELLER)) as session:
            incidents.give_back(session, [one.incident_id for one in due])
    except Exception as error:
        log.warning("the ledger was not told that nobody could be told: %s", error)


def _send(trouble: Trouble, contract: DagContract, connect: Connect, incident: str, severity: str) -> bool:
    alerts = contract.alerts
    body = messages.alert(trouble, contract, connect, incident)
    level: Level = "warning" if severity == "warning" else "failure"
    taken = send(
        channels_for(trouble.event, alerts), trouble.title, body, connect, level=level, spare=alerts.channels
    )
    if _for_consumers(trouble, severity):
        for words, each in _readers(contract):
            _note(words, each, contract, connect)
    return taken


def _for_consumers(trouble: Trouble, severity: str) -> bool:
    """Whether who only reads the data has to know: not of a warning, and not of the past that somebody does again."""
    return severity == "critical" and not trouble.backfill


def _readers(contract: DagContract) -> list[tuple[str, DagContract]]:
    """What is late or wrong when this contract's DAG fails, where its contract names channels of its consumers."""
    try:
        return [(words, each) for words, each in hurt(contract) if each.alerts.consumers]
    except ContractError:  # another contract's fault must not keep this alert back
        return []


def _note(words: str, each: DagContract, failed: DagContract, connect: Connect) -> None:
    kind, name = messages.kind_and_name(each)
    try:
        as_of = last_good(kind, name, connect)
    except Exception as error:
        log.warning("of when the data is, is not known: %s", error)
        as_of = None
    body = messages.note_to_consumers(words, failed, as_of)
    spare, title = failed.alerts.channels, f"{words}: newer data is late"
    send(each.alerts.consumers, title, body, connect, level="warning", spare=spare)
