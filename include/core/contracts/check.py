"""What is wrong with all contracts together: each file's faults, and what one file says about another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from include.core.contracts.common import Accepted, DagContract
from include.core.contracts.destinations import HttpDestination
from include.core.contracts.echo import SystemOf, echoes
from include.core.contracts.faults import Document, Fault, FaultyContract, Place
from include.core.contracts.load import KINDS, Read, contract_files, contracts_folder, read_one
from include.core.contracts.mapping import columns_of
from include.core.contracts.source import SourceContract
from include.core.contracts.sync import SyncContract
from include.core.contracts.transform import TransformContract
from include.core.errors import ContractError

WARN_BEFORE = timedelta(days=14)


@dataclass(frozen=True)
class Report:
    """What a check found. `read` holds the contracts that load, by their files."""

    files: tuple[Path, ...]
    read: dict[Path, Read[Any]]
    faults: tuple[Fault, ...]
    warnings: tuple[Fault, ...]

    def sources(self) -> list[Read[SourceContract]]:
        return [one for one in self.read.values() if isinstance(one.contract, SourceContract)]


def check(
    files: list[Path],
    *,
    today: date,
    defined: Callable[[str], bool] = lambda conn_id: True,
    system_of: SystemOf = lambda conn_id: conn_id,
    personal: Callable[[str], frozenset[str] | None] = lambda model: frozenset(),
    folder: Path | None = None,
) -> Report:
    """Check these files by themselves and against everything else in the folder. Opens no connection.

    :param defined: whether a connection of this name is known. :param system_of: where one leads; equal for two that lead to
        one system.
    :param personal: the columns of an activation model that are marked as personal; None when the model is not known.
    """
    read: dict[Path, Read[Any]] = {}
    faults: list[Fault] = []
    for path in files:
        try:
            read[path] = read_one(kind_of(path), path)
        except FaultyContract as error:
            faults += error.faults
    for one in read.values():
        faults += _across(one, folder)
        faults += _expired(one, today)
        faults += _past_maintenance(one, today)
        faults += _undefined(one, defined)
        if isinstance(one.contract, SyncContract):
            faults += echoes(one, folder, system_of)
            faults += _leaving(one.contract, one.document, personal(one.contract.model))
    faults += _same_target(read)
    faults += _same_rate(read)
    faults.sort(key=lambda fault: (str(fault.path), fault.line))
    return Report(
        tuple(files),
        read,
        tuple(fault for fault in faults if not fault.warning),
        tuple(fault for fault in faults if fault.warning),
    )


def all_files(folder: Path | None = None) -> list[Path]:
    """Every contract file, sources first."""
    return [path for kind in KINDS for path in contract_files(kind, folder)]


def find_files(names: list[str], folder: Path | None = None) -> list[Path]:
    """The files that these names or paths mean; a name means every kind of contract that is called so.

    :raises ContractError: a name means nothing.
    """
    files: list[Path] = []
    everything = all_files(folder)
    for name in names:
        found = [Path(name)] if Path(name).is_file() else [path for path in everything if path.stem == name]
        if not found:
            raise ContractError(
                "there is no such contract",
                where=f"contract {name!r}",
                allowed=", ".join(sorted({path.stem for path in everything}))
                or "none: there are no contracts yet",
                todo=f"give a name or a file; contracts lie in {folder or contracts_folder()}",
            )
        files += [path for path in found if path not in files]
    return files


def stray_files(folder: Path | None = None) -> list[Fault]:
    """Files that look like contracts and that nobody reads."""
    root = folder or contracts_folder()
    places = [root / place for place, _ in KINDS.values()]
    strays = [path for place in places for path in sorted(place.glob("*.yml"))]
    strays += sorted(path for path in root.glob("*") if path.suffix in (".yaml", ".yml"))
    allowed = "sources/NAME.yaml, transforms/NAME.yaml, syncs/NAME.yaml"
    return [
        Fault(path, 1, "(whole file)", "nobody reads this file", path.name, allowed, True) for path in strays
    ]


def kind_of(path: Path) -> type[DagContract]:
    """The kind of a contract file, by its folder.

    :raises FaultyContract: the folder is none of contracts.
    """
    for kind, (folder, _) in KINDS.items():
        if path.resolve().parent.name == folder:
            return kind
    folders = ", ".join(folder for folder, _ in KINDS.values())
    what = "the folder says what kind of contract a file is"
    raise FaultyContract([Fault(path, 1, "(whole file)", what, path.resolve().parent.name, folders)])


def _across(one: Read[Any], folder: Path | None) -> Iterator[Fault]:
    """What it names must be there; whether that loads is the other file's matter."""
    contract, document = one.contract, one.document
    if isinstance(contract, TransformContract):
        there = _names(SourceContract, folder)
        for number, source in enumerate(contract.sources):
            if source not in there:
                yield document.fault(("sources", number), "no such source", source, _one_of(there))
    if isinstance(contract, SyncContract):
        there = _names(TransformContract, folder)
        if contract.transform not in there:
            yield document.fault(("transform",), "no such transform", contract.transform, _one_of(there))


def _names(kind: type[DagContract], folder: Path | None) -> list[str]:
    return [path.stem for path in contract_files(kind, folder)]


def _one_of(names: list[str]) -> str:
    return ", ".join(names) or "none: there is no such contract yet"


def _leaving(contract: SyncContract, document: Document, personal: frozenset[str] | None) -> Iterator[Fault]:
    """Personal data leaves only when the contract names it."""
    if personal is None:
        what = "dbt does not know this model, so nobody can say which of its columns are personal"
        allowed = (
            "an activation model of the dbt project; millrace up, or dbt parse --target prod, reads it anew"
        )
        yield document.fault(("model",), what, contract.model, allowed, warning=True)
    for column in contract.undeclared(personal or frozenset()):
        name = next(name for name, one in contract.mapping.items() if column in columns_of(one))
        what = "personal data would leave the warehouse"
        allowed = f"{column} under `personal`, when it may leave; or no such field"
        yield document.fault(("mapping", name), what, column, allowed)


def _expired(one: Read[Any], today: date) -> Iterator[Fault]:
    told: set[int] = set()
    for at, accepted in _accepted(one.contract, ()):
        place = (*at, "until")
        # what an anchor repeats is one answer, in one place
        line = one.document.fault(place, "", "", "").line
        if line in told or accepted.until >= today + WARN_BEFORE:
            continue
        told.add(line)
        past = accepted.until < today
        what = "was accepted until a day that is past" if past else "is accepted for a few more days only"
        allowed = "an answer that is checked, or a later day that its owner agrees to"
        yield one.document.fault(place, what, str(accepted.until), allowed, warning=not past)


def _past_maintenance(one: Read[Any], today: date) -> Iterator[Fault]:
    for number, window in enumerate(one.contract.alerts.maintenance):
        if window.until.date() < today:
            place = ("alerts", "maintenance", number)
            what, allowed = "is over, and says nothing any more", "no window that is past: take it out"
            yield one.document.fault(place, what, str(window.until), allowed, warning=True)


def _accepted(value: Any, at: Place) -> Iterator[tuple[Place, Accepted]]:
    if isinstance(value, Accepted):
        yield at, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _accepted(getattr(value, name), (*at, name))
    elif isinstance(value, tuple):
        for number, item in enumerate(value):
            yield from _accepted(item, (*at, number))


def _undefined(one: Read[Any], defined: Callable[[str], bool]) -> Iterator[Fault]:
    for at, conn_id in _connections(one.contract):
        if not defined(conn_id):
            allowed = (
                f"AIRFLOW_CONN_{conn_id.upper()} in .env, or a connection in the UI or a secrets backend"
                " (which this check does not see)"
            )
            yield one.document.fault(at, "connection not found here", conn_id, allowed, warning=True)


def _connections(contract: DagContract) -> Iterator[tuple[Place, str]]:
    alerts = contract.alerts
    for event in ("on_failure", "on_missed_deadline", "on_warning", "consumers"):
        for number, conn_id in enumerate(getattr(alerts, event)):
            yield ("alerts", event, number), conn_id
    for number, conn_id in enumerate(alerts.escalate.to if alerts.escalate else ()):
        yield ("alerts", "escalate", "to", number), conn_id
    if isinstance(contract, SourceContract):
        yield ("connection",), contract.connection
        if contract.privacy_keys:
            yield ("privacy_keys",), contract.privacy_keys
    if isinstance(contract, SyncContract):
        yield ("destination", "connection"), contract.destination.connection


def _same_rate(read: dict[Path, Read[Any]]) -> Iterator[Fault]:
    """Syncs of one connection that share its bucket and do not agree how fast it fills."""
    rates: dict[str, tuple[str | None, Document]] = {}
    for one in read.values():
        goal = getattr(one.contract, "destination", None)
        if isinstance(goal, HttpDestination):
            rate, other = rates.setdefault(goal.connection, (goal.rate_limit, one.document))
            if rate != goal.rate_limit:
                what = f"another sync says {rate or 'no rate limit'} for this connection: {other.path}"
                at = ("destination", "rate_limit")
                yield one.document.fault(at, what, goal.rate_limit, "the same for each sync of a connection")


def _same_target(read: dict[Path, Read[Any]]) -> Iterator[Fault]:
    """Two files that would write the same schema or fill the same field, each undoing the other's work."""
    schemas: dict[str, Document] = {}
    fields: dict[tuple[str, ...], Document] = {}
    for one in read.values():
        contract, document = one.contract, one.document
        if isinstance(contract, SourceContract):
            other = schemas.setdefault(contract.raw_schema, document)
            if other is not document:
                what = f"another file writes the same schema: {other.path}"
                yield document.fault(("source",), what, contract.raw_schema, "one source for each raw schema")
        if isinstance(contract, SyncContract):
            goal = contract.destination
            for name in contract.mapping:
                other = fields.setdefault((goal.connection, goal.place, name), document)
                if other is not document and name != goal.key:
                    what = f"another sync fills the same field: {other.path}"
                    yield document.fault(
                        ("mapping", name), what, name, "one sync for each field", warning=True
                    )
