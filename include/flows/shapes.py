"""The history of a stream's shape, from the manifests of its loads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from include.core.connection import Connection
from include.core.contracts.source import SourceContract
from include.core.errors import TerminalError
from include.core.schema import StreamSchema
from include.core.shapes import differences
from include.landing import LandingZone, ObjectStore
from include.warehouse.connect import connected
from include.warehouse.ledger import rows_of

_LOADS = """
select l.load_id, l.manifest, l.landed_at, s.schema_fingerprint as shape, s.changes
  from ledger.load_stream as s join ledger.load as l using (load_id)
 where l.source = %s and s.stream = %s and l.manifest is not null
 order by l.load_id
"""


@dataclass(frozen=True)
class Shape:
    """A shape, the loads in a row that had it, when the first of them landed, and what changed against the one before
    (nothing in the first). `answers` is how it differed from the contract of then, and what that answered."""

    shape: StreamSchema
    first_load: int
    last_load: int
    landed_at: datetime
    changes: tuple[str, ...]
    answers: tuple[str, ...] = ()


def shapes(contract: SourceContract, stream: str, connect: Callable[[str], Connection]) -> list[Shape]:
    """The shapes that a stream had over time, oldest first. Loads that were held back have landed too, and count.

    :raises TerminalError: no load of this stream has landed. :raises NotLanded: a manifest is missing.
    """
    with connected(connect("warehouse_loader")) as session:
        loads = rows_of(session, _LOADS, (contract.source, stream))
    if not loads:
        raise TerminalError(
            "no load of this stream has landed", where=f"source {contract.source!r}", received=stream,
            allowed=", ".join(one.name for one in contract.streams),
            todo=f"millrace run ingest__{contract.source} --wait",
        )  # fmt: skip
    zone = LandingZone(ObjectStore(connect("landing")))
    found: list[Shape] = []
    runs: list[list[int]] = []
    for place, load in enumerate(loads):
        before = loads[place - 1] if place else None
        if before and (load["shape"], load["changes"]) == (before["shape"], before["changes"]):
            runs[-1][1] = place
        else:
            runs.append([place, place])
    for first, last in runs:
        landed = zone.manifest(loads[first]["manifest"]).stream(stream)
        shape = landed.schema
        changes = differences(found[-1].shape, shape) if found else ()
        begin = loads[first]
        answers = tuple(f"{change.answer}: {change}" for change in landed.changes)
        found.append(
            Shape(shape, begin["load_id"], loads[last]["load_id"], begin["landed_at"], changes, answers)
        )
    return found
