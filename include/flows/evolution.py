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


# A backfill is left out: it says nothing about rows outside its interval.
_LAST = """
select w.stream, l.manifest
  from ledger.watermark as w
 cross join lateral (
    select l.manifest from ledger.load as l join ledger.load_stream as s using (load_id)
     where l.source = w.source and l.kind = 'regular' and l.manifest is not null
       and s.stream = w.stream and s.status = 'published'
     order by l.load_id desc limit 1) as l
 where w.source = %s
"""


def last_shapes(session: Any, zone: LandingZone, source: str) -> dict[str, StreamSchema]:
    """The shape that each stream was last published in, from the manifest of that load.

    A stream whose manifest is no longer there is left out: then its columns are known by their names alone.
    """
    keys = {row["stream"]: row["manifest"] for row in ledger.rows_of(session, _LAST, (source,))}
    manifests: dict[str, Manifest] = {}
    for key in set(keys.values()):
        try:
            manifests[key] = zone.manifest(key)
        except NotLanded:
            log.warning("the manifest %s is gone: a renamed column will look like a new one", key)
    return {stream: manifests[key].stream(stream).schema for stream, key in keys.items() if key in manifests}


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
