"""What a load knows of the shapes before it, and what it says of how the source has changed since."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from include.core.errors import NotLanded
from include.core.manifest import Manifest
from include.core.schema import StreamSchema
from include.landing import LandingZone
from include.warehouse import ledger

if TYPE_CHECKING:
    from include.privacy import ProtectedSnapshot

log = logging.getLogger("millrace.ingest")


def last_shapes(
    session: Any, zone: LandingZone, known: dict[str, ledger.Watermark]
) -> dict[str, StreamSchema]:
    """The shape that each stream was last published in, from the manifest of that load.

    A stream whose manifest is no longer there is left out: then its columns are known by their names alone.
    """
    manifests: dict[int, Manifest] = {}
    shapes: dict[str, StreamSchema] = {}
    for stream, mark in known.items():
        key = ledger.get_load(session, mark.load_id).manifest
        if mark.load_id not in manifests and key:
            try:
                manifests[mark.load_id] = zone.manifest(key)
            except NotLanded:
                log.warning("the manifest of load %s is gone: renamed columns cannot be told", mark.load_id)
                continue
        if mark.load_id in manifests:
            shapes[stream] = manifests[mark.load_id].stream(stream).schema
    return shapes


def replaced(before: StreamSchema | None, now: StreamSchema) -> list[str]:
    """Columns that went and came back under the same name: their rows have other values, and no new stamps."""
    if before is None or before.table != now.table or not now.table:
        return []
    numbers = {column.name: column.number for column in before.columns}
    return [column.name for column in now.columns if numbers.get(column.name, column.number) != column.number]


def tell(snapshot: ProtectedSnapshot) -> None:
    """Write into the log what differs from the contract and was let pass."""
    for stream, changes in snapshot.changes.items():
        for change in changes:
            log.warning("%s: %s: %s", stream, change.answer, change)
    if snapshot.unread:
        log.info("no stream reads %s", ", ".join(snapshot.unread))
