"""Syncs that write where their own model is read from: what they send comes back as a change of a source."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from include.core.contracts.faults import Fault, FaultyContract
from include.core.contracts.load import Read, contract_files, load_one
from include.core.contracts.source import SourceContract
from include.core.contracts.sync import SyncContract
from include.core.contracts.transform import TransformContract

#: Where a connection leads, as something that is equal for two that lead to one system.
SystemOf = Callable[[str], object]


def echoes(one: Read[SyncContract], folder: Path | None, system_of: SystemOf) -> Iterator[Fault]:
    """A warning for each stream that reads the table which this sync writes, and that the sync's transform builds on."""
    sync = one.contract
    table = getattr(sync.destination, "table", None)
    if table is None:
        return
    goal = (
        sync.destination.type,
        system_of(sync.destination.connection),
        _whole(sync.destination.type, table),
    )
    for source in _sources(sync.transform, folder):
        system = system_of(source.connection)
        for stream in source.streams:
            if (source.kind, system, _whole(source.kind, stream.table)) == goal:
                yield one.document.fault(
                    ("destination", "table"),
                    f"what it sends comes back: source {source.source!r} reads it as stream {stream.name!r},"
                    f" and transform {sync.transform!r} builds on that",
                    table,
                    "a model whose values do not depend on what was sent: such an echo ends by itself, because only"
                    " changed records are sent; one that changes a value each time goes round for ever",
                    warning=True,
                )


def _whole(kind: str, table: str) -> str:
    name = table.replace('"', "").replace("`", "")
    return name if "." in name or kind != "postgres" else f"public.{name}"


def _sources(transform: str, folder: Path | None) -> list[SourceContract]:
    """Of those that load: a fault in one is told where that file is checked."""
    built_on = {
        name
        for each in _loaded(TransformContract, folder)
        if each.transform == transform
        for name in each.sources
    }
    return [each for each in _loaded(SourceContract, folder) if each.source in built_on]


def _loaded(kind: Any, folder: Path | None) -> list[Any]:
    found = []
    for path in contract_files(kind, folder):
        try:
            found.append(load_one(kind, path))
        except FaultyContract:
            continue
    return found
