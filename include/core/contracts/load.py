"""Finding and reading contract files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import ValidationError

from include.core.contracts.common import Alerts, DagContract
from include.core.contracts.document import read_document
from include.core.contracts.faults import Document, Fault, FaultyContract, faults_of
from include.core.contracts.source import SourceContract
from include.core.contracts.still import still_said
from include.core.contracts.sync import SyncContract
from include.core.contracts.transform import TransformContract
from include.core.contracts.upkeep import Upkeep
from include.core.errors import ContractError

C = TypeVar("C", bound=DagContract)

#: Folder and name field of each kind of contract.
KINDS: dict[type[DagContract], tuple[str, str]] = {
    SourceContract: ("sources", "source"),
    TransformContract: ("transforms", "transform"),
    SyncContract: ("syncs", "sync"),
}

#: Kind of DAG of each kind of contract.
DAG_KINDS: dict[type[DagContract], str] = {
    SourceContract: "ingest",
    TransformContract: "transform",
    SyncContract: "activate",
    Upkeep: "maintain",
}


@dataclass(frozen=True)
class Read(Generic[C]):
    """A contract together with the file it was read from."""

    contract: C
    document: Document


def name_of(contract: DagContract) -> str:
    """The name of a contract, of any kind."""
    if isinstance(contract, Upkeep):
        return "maintain"
    return str(getattr(contract, KINDS[type(contract)][1]))


def contracts_folder() -> Path:
    """Where contracts are read: `include/contracts`, or the folder that MILLRACE_CONTRACTS names."""
    return Path(os.environ.get("MILLRACE_CONTRACTS") or Path(__file__).resolve().parents[2] / "contracts")


def contract_files(kind: type[DagContract], folder: Path | None = None) -> list[Path]:
    """The files of one kind of contract, ordered by name."""
    return sorted(((folder or contracts_folder()) / KINDS[kind][0]).glob("*.yaml"))


def upkeep() -> Upkeep:
    """The contract of the DAG `maintain`: it tells all who are told of failed or late runs of any contract."""
    said = [still_said(path).alerts for kind in KINDS for path in contract_files(kind)]
    return Upkeep(
        alerts=Alerts(
            on_failure=tuple(dict.fromkeys(one for alerts in said for one in alerts.on_failure)),
            on_missed_deadline=tuple(
                dict.fromkeys(one for alerts in said for one in alerts.on_missed_deadline)
            ),
        )
    )


def load_all(kind: type[C], folder: Path | None = None) -> list[C]:
    """All contracts of one kind, ordered by name.

    :raises FaultyContract: a ContractError that names every fault of every file.
    """
    contracts: list[C] = []
    faults: list[Fault] = []
    for path in contract_files(kind, folder):
        try:
            contracts.append(load_one(kind, path))
        except FaultyContract as error:
            faults += error.faults
    if faults:
        raise FaultyContract(faults)
    return contracts


def load_one(kind: type[C], path: Path) -> C:
    """The contract in one file.

    :raises FaultyContract: a ContractError that names every fault of the file, each with its line.
    """
    return read_one(kind, path).contract


def load_named(kind: type[C], name: str) -> C:
    """The contract of this name.

    :raises ContractError: there is none. :raises FaultyContract: it has faults.
    """
    files = {path.stem: path for path in contract_files(kind)}
    if name not in files:
        raise ContractError("there is no such contract", received=name, allowed=", ".join(sorted(files)))
    return load_one(kind, files[name])


def read_one(kind: type[C], path: Path) -> Read[C]:
    """The contract in one file, and the lines of its fields. Raises as `load_one` does."""
    document = read_document(path)
    name_field = KINDS[kind][1]
    faults = []
    name = document.data.get(name_field)
    if isinstance(name, str) and name != path.stem:
        what = "differs from the file's name; one finds a contract by its name"
        faults.append(document.fault((name_field,), what, name, f"{path.stem}, or rename the file"))
    try:
        contract = kind.model_validate(document.data)
    except ValidationError as error:
        faults += faults_of(kind, document, error)
    if faults:
        raise FaultyContract(sorted(faults, key=lambda fault: fault.line))
    return Read(contract, document)
