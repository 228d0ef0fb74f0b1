"""Reading contract files. An error names file, line, field, what was received and what is allowed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from include.core.contracts.common import DagContract
from include.core.contracts.source import SourceContract
from include.core.contracts.sync import SyncContract
from include.core.contracts.transform import TransformContract
from include.core.errors import ContractError

C = TypeVar("C", bound=DagContract)
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

#: Folder and name field of each kind of contract.
KINDS: dict[type[DagContract], tuple[str, str]] = {
    SourceContract: ("sources", "source"),
    TransformContract: ("transforms", "transform"),
    SyncContract: ("syncs", "sync"),
}


def contracts_folder() -> Path:
    """Where contracts are read: `include/contracts`, or the folder that MILLRACE_CONTRACTS names."""
    return Path(os.environ.get("MILLRACE_CONTRACTS") or Path(__file__).resolve().parents[2] / "contracts")


def load_all(kind: type[C], folder: Path | None = None) -> list[C]:
    """All contracts of one kind, ordered by name.

    :raises ContractError: naming every fault of the first file that has any.
    """
    return [load_one(kind, path) for path in contract_files(kind, folder)]


def contract_files(kind: type[DagContract], folder: Path | None = None) -> list[Path]:
    """The files of one kind of contract, ordered by name."""
    return sorted(((folder or contracts_folder()) / KINDS[kind][0]).glob("*.yaml"))


def load_one(kind: type[C], path: Path) -> C:
    """The contract in one file.

    :raises ContractError: naming every fault of the file, each with its line.
    """
    data, lines = _read(path)
    try:
        contract = kind.model_validate(data)
    except ValidationError as error:
        faults = [_explain(path, fault, lines) for fault in error.errors()]
        raise ContractError("\n".join(faults)) from None
    name_field = KINDS[kind][1]
    name = getattr(contract, name_field)
    if name != path.stem:
        raise ContractError(
            f"{name_field} differs from the file's name",
            where=f"{path}:{lines.get((name_field,), 1)}: {name_field}",
            received=repr(name),
            allowed=repr(path.stem),
            todo="rename the file or the field, so that one finds a contract by its name",
        )
    return contract


def _explain(path: Path, fault: Any, lines: dict[tuple[Any, ...], int]) -> str:
    location = tuple(part for part in fault["loc"] if not _is_branch(part, fault))
    at = location
    while at and at not in lines:
        at = at[:-1]
    received = fault.get("input")
    shown = "nothing" if fault["type"] == "missing" else _short(received)
    allowed = fault["msg"].removeprefix("Value error, ")
    field = ".".join(str(part) for part in location) or "(whole file)"
    return f"{path}:{lines.get(at, 1)}: {field}\n  received: {shown}\n  allowed:  {allowed}"


def _is_branch(part: Any, fault: Any) -> bool:
    """Pydantic puts the tried branch of a union (a type's name) into the location; a reader of YAML knows no such field."""
    return isinstance(part, str) and (part in ("Accepted", "postgres", "http") or "[" in part or part in _SCALARS)


_SCALARS = frozenset({"float", "int", "timedelta", "str"})


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping with " + (", ".join(map(str, value)) or "nothing in it")
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."


def _read(path: Path) -> tuple[dict[str, Any], dict[tuple[Any, ...], int]]:
    text = path.read_text(encoding="utf-8")
    try:
        node = yaml.compose(text, Loader=_Loader)
        data = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ContractError(f"is not YAML: {error.problem}", where=f"{path}:{line}", todo="correct the line") from None
    lines: dict[tuple[Any, ...], int] = {}
    for place, line in _places(path, node, ()):
        lines[place] = line
    if not isinstance(data, dict):
        raise ContractError("is empty or no mapping", where=f"{path}:1", allowed="fields such as `source: shop`")
    return data, lines


def _places(path: Path, node: Any, at: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], int]]:
    if isinstance(node, yaml.MappingNode):
        seen: set[Any] = set()
        for key, value in node.value:
            if key.value in seen:
                raise ContractError(
                    "field stands twice; the second would silently win",
                    where=f"{path}:{key.start_mark.line + 1}: {'.'.join(map(str, (*at, key.value)))}",
                    todo="remove one",
                )
            seen.add(key.value)
            yield (*at, key.value), key.start_mark.line + 1
            yield from _places(path, value, (*at, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*at, index), value.start_mark.line + 1
            yield from _places(path, value, (*at, index))
