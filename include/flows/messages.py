"""What is told of an incident: to engineers what broke, what it affects, what to do; to consumers, what they still have."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

from include.core.contracts import (
    SourceContract,
    SyncContract,
    TransformContract,
    contracts_folder,
    load_named,
    load_one,
)
from include.core.contracts.affected import affected
from include.core.contracts.common import DagContract
from include.core.contracts.load import KINDS, name_of, upkeep
from include.core.contracts.still import StillSaid, still_said
from include.core.errors import ContractError
from include.core.incident import Incident, Trouble
from include.flows.status import Connect, last_good, rejected

_CONTRACTS: dict[str, type[DagContract]] = {
    "ingest": SourceContract,
    "transform": TransformContract,
    "activate": SyncContract,
}
#: Incidents of one message that it names.
_NAMED = 5


def contract_of(kind: str, name: str) -> DagContract:
    """What the contract says; where it has faults, which may be what broke, what it still says."""
    if kind not in _CONTRACTS:
        return upkeep()
    contract = _CONTRACTS[kind]
    path = contracts_folder() / KINDS[contract][0] / f"{name}.yaml"
    try:
        return load_one(contract, path)
    except ContractError:
        return still_said(path)


def contract_named(dag_id: str) -> DagContract:
    """The contract that makes this DAG.

    :raises ContractError: there is none. :raises FaultyContract: it has faults.
    """
    kind, _, name = dag_id.partition("__")
    if dag_id == "maintain":
        return upkeep()
    if kind not in _CONTRACTS:
        allowed = f"maintain, or one of {', '.join(_CONTRACTS)}, two underscores, and the name of a contract"
        raise ContractError("no contract makes this DAG", received=dag_id, allowed=allowed)
    return load_named(_CONTRACTS[kind], name)


def dag_id(kind: str, name: str) -> str:
    """The DAG of a contract."""
    return f"{kind}__{name}" if kind in _CONTRACTS else kind


def alert(trouble: Trouble, contract: DagContract, connect: Connect, incident: str) -> str:
    """The message to engineers. `incident` says under which number it is kept."""
    lines = [
        f"What broke:  {trouble.what}",
        f"Since:       {_since(trouble, connect)}",
        f"Affected:    {_affected(contract)}",
        f"Owner:       {contract.owner.team} ({contract.owner.contact})",
        f"What to do:  {_todo(contract)}",
        f"Incident:    {incident}",
        f"Run:         {trouble.run_id}",
        f"Log:         {trouble.link}",
    ]
    return "\n".join(lines)


def incident_line(incidents: Sequence[Incident]) -> str:
    """The numbers of the incidents that one message tells, how often they came, and how to say that one has them."""
    named = [
        f"{one.incident_id} (seen {one.occurrences} times since {_moment(one.opened_at)})"
        if one.occurrences > 1
        else str(one.incident_id)
        for one in incidents[:_NAMED]
    ]
    more = f" and {len(incidents) - _NAMED} more" if len(incidents) > _NAMED else ""
    return f"{', '.join(named)}{more}; say that you have it: millrace incidents ack {incidents[0].incident_id} --by YOU"


def recovery(incidents: Sequence[Incident], by: str) -> str:
    """The message that it is over, and with what."""
    lines = [f"Over with:   {by}"]
    for one in incidents:
        end = one.resolved_at or datetime.now(timezone.utc)
        times = "once" if one.occurrences == 1 else f"{one.occurrences} times"
        lines.append(
            f"Incident {one.incident_id}: {one.title}; open since {_moment(one.opened_at)}, lasted"
            f" {_lasted(end - one.opened_at)}, seen {times}"
        )
    return "\n".join(lines)


def note_to_consumers(words: str, contract: DagContract, as_of: datetime | None) -> str:
    """What somebody has to know who only reads the data. :param words: which data, such as "marts of shop"."""
    state = f"what is there is of {_moment(as_of)}" if as_of else "there is nothing yet"
    return (
        f"{words}: {state}. Newer data is late; what is there passed its checks.\n"
        f"Who works on it: {contract.owner.team} ({contract.owner.contact}). You will be told when it is over."
    )


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def _lasted(time: timedelta) -> str:
    minutes, seconds = divmod(int(time.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = ((days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s"))
    return " ".join([f"{count} {unit}" for count, unit in parts if count][:2]) or "0 s"


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


def _since(trouble: Trouble, connect: Connect) -> str:
    if trouble.kind not in _CONTRACTS:
        return "this run"
    try:
        good = as_of(trouble, connect)
    except Exception as error:  # an alert goes out also when the warehouse is what broke
        return f"unknown, the ledger could not be read ({type(error).__name__})"
    return f"the last good state is of {_moment(good)}" if good else "it has never succeeded"


def as_of(trouble: Trouble, connect: Connect) -> datetime | None:
    """Of when the last good state is."""
    streams = rejected(trouble.name, trouble.run_id, connect) if trouble.kind == "ingest" else ()
    return last_good(trouble.kind, trouble.name, connect, streams)


def kind_and_name(contract: DagContract) -> tuple[str, str]:
    """Of a contract of a source, transform or sync, as the ledger has them."""
    kind = next(kind for kind, one in _CONTRACTS.items() if isinstance(contract, one))
    return kind, name_of(contract)
