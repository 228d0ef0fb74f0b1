"""Raw compared with its source, whole tables at a time, without moving them.

The only moment at which they can be equal while the source goes on is that of a load's snapshot. So `extract` has the source
compute the checksums of its tables in that snapshot, the manifest keeps them, and once the load is published, and before
another one can be, raw is held against them. What differs is then looked at row by row.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from include.core.changes import Known
from include.core.checksum import Checksum, comparable
from include.core.contracts.source import SourceContract, Stream
from include.core.errors import BooksDoNotBalance, MillraceError, StaleLoad
from include.core.manifest import StreamManifest
from include.core.quoting import identifier
from include.core.schema import StreamSchema
from include.flows.source_run import SourceRun
from include.privacy import ProtectedSnapshot, read_keys
from include.quality.gate import hidden
from include.sources import open_source
from include.warehouse import checksums, ledger, quarantine
from include.warehouse.connect import connected

if TYPE_CHECKING:
    from include.sources import Snapshot

log = logging.getLogger("millrace.ingest")

#: What is looked at of a table that differs: so many buckets, about so many rows of them; and so many are shown, cut at so
#: many characters.
_BUCKETS, _ROWS, _SHOWN, _WIDTH = 32, 50_000, 10, 200


@dataclass(frozen=True)
class Reconciled:
    """One stream: rows there and here, buckets in all and that differ, those to be looked at, and rows that differ now."""

    stream: str
    source_rows: int
    raw_rows: int
    buckets: int
    differing: int
    look: tuple[int, ...] = ()
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.differing:
            return f"{self.stream}: {self.raw_rows:,} rows, equal"
        shown = "".join(f"\n    {example}" for example in self.examples)
        rows = f"{self.source_rows:,} rows in the source, {self.raw_rows:,} in raw"
        return f"{self.stream}: {rows}, {self.differing} of {self.buckets} buckets differ{shown}"


def due(contract: SourceContract, asked: bool, session: Any) -> frozenset[str]:
    """The streams that this load shall compare: all when somebody asked for it, else those of which raw was not found equal
    for as long as the contract says. Never one of which raw drops keys that come twice."""
    if contract.reconcile is None and not asked:
        return frozenset()
    streams = {one.name for one in contract.streams if contract.duplicates == "none" or not one.primary_key}
    if not asked and contract.reconcile is not None:
        streams -= ledger.found_equal(session, contract.source, contract.reconcile)
    return frozenset(streams)


def checksum(snapshot: Snapshot, stream: Stream) -> Checksum | None:
    """Of one stream; None where the source cannot compute it: then the load goes on without."""
    if snapshot.checksums is None:
        return None
    try:
        return snapshot.checksums.whole(stream, snapshot.schemas[stream.name])
    except MillraceError as error:
        log.warning("%s will not be compared with its source: %s", stream.name, error)
        return None


def reconcile(run: SourceRun, load_id: int) -> list[Reconciled]:
    """Hold raw against the checksums of a published load; nothing where it has none.

    :raises BooksDoNotBalance: with the streams that differ, and keys of rows.
    """
    with run.lease_kept(load_id), connected(run.loader()) as session:
        told = {one.stream: one for one in run.manifest(session, load_id).streams if one.checksum}
        published = {
            row["stream"] for row in ledger.stream_rows(session, load_id) if row["status"] == "published"
        }
        try:
            with session.transaction():
                ledger.hold_lease(session, load_id)  # nobody publishes meanwhile
                found = [_compared(run, session, told[name]) for name in told if name in published]
        except StaleLoad:
            log.warning("raw may have changed since this load, so what was found then counts")
            found = _noted(session, load_id)
        else:
            for one in found:  # before anything is asked of the source again
                _note(session, load_id, one, told[one.stream])
            found = [_looked_at(run, session, told[one.stream], one) for one in found]
            for one in found:
                _note(session, load_id, one, told[one.stream])
                log.log(logging.ERROR if one.differing else logging.INFO, "%s", one)
    wrong = [one for one in found if one.differing]
    if wrong:
        raise BooksDoNotBalance(
            "raw is not what its source was in this load's snapshot", where=f"{run.where}, load {load_id}",
            received="\n  ".join(map(str, wrong)), allowed="the same rows, in every column that lands as it is",
            todo="start the DAG with full_refresh for these streams; when it comes again, the source changes or deletes rows"
            f" of which its cursor or `deletes` does not tell: ask {run.contract.owner.contact}",
        )  # fmt: skip
    return found


def _compared(run: SourceRun, session: Any, landed: StreamManifest) -> Reconciled:
    there = landed.checksum
    assert there is not None
    schema = comparable(landed.schema, there.columns)
    here = checksums.checksum(session, _raw(run, session, landed, schema), schema, there.count)
    differing = there.differing(here)
    look: list[int] = []
    rows = 0
    for bucket in differing[:_BUCKETS]:
        rows += max(there.held(bucket), here.held(bucket))
        if look and rows > _ROWS:
            break
        look.append(bucket)
    return Reconciled(landed.stream, there.rows, here.rows, there.count, len(differing), tuple(look))


def _raw(run: SourceRun, session: Any, landed: StreamManifest, schema: StreamSchema) -> str:
    """What is held against the source: raw, with the rows in quarantine as the source has them."""
    raw = identifier(run.contract.raw_schema, landed.stream)
    return quarantine.as_read(session, run.contract.source, landed.stream, raw, schema)


def _looked_at(run: SourceRun, session: Any, landed: StreamManifest, one: Reconciled) -> Reconciled:
    """The same with examples, when something differs: rows that differ now, as the snapshot is gone."""
    if not one.differing:
        return one
    if run.contract.quiet_until(datetime.now(timezone.utc)):
        return replace(one, examples=("which rows is not looked for in the source's quiet hours",))
    try:
        return replace(one, examples=tuple(_examples(run, session, landed, one)))
    except MillraceError as error:
        return replace(one, examples=(f"which rows could not be looked for: {error.what}",))


def _examples(run: SourceRun, session: Any, landed: StreamManifest, one: Reconciled) -> list[str]:
    assert landed.checksum is not None
    stream = run.contract.stream(one.stream)
    schema = comparable(landed.schema, landed.checksum.columns)
    there = _there(run, stream, landed, one)
    here = checksums.digests(session, _raw(run, session, landed, schema), schema, one.buckets, one.look)
    differ = sorted(key for key in {*there, *here} if there.get(key) != here.get(key))
    what = f"key ({', '.join(schema.primary_key)})" if schema.primary_key else "row"
    # Nobody has said of a column that the contract does not know that it is not personal.
    shown = schema.primary_key or schema.names
    personal = any(name not in stream.columns or stream.columns[name].pii for name in shown)
    examples = [
        f"{what} {hidden(key, True) if personal else key[:_WIDTH]}: {_how(key, there, here)}"
        for key in differ[:_SHOWN]
    ]
    if len(differ) > _SHOWN:
        examples.append(f"and {len(differ) - _SHOWN:,} more")
    return examples or ["none of these rows differs any more"]


def _there(run: SourceRun, stream: Stream, landed: StreamManifest, one: Reconciled) -> dict[str, str]:
    keys = read_keys(run.connect(run.contract.privacy_keys)) if run.contract.privacy_keys else None
    source = open_source(run.contract, run.connect(run.contract.connection))
    with source.snapshot([stream], Known({stream.name: landed.schema})) as clear:
        snapshot = ProtectedSnapshot(clear, (stream,), keys)
        assert snapshot.checksums is not None and landed.checksum is not None
        schema = comparable(snapshot.schemas[stream.name], landed.checksum.columns)
        return snapshot.checksums.digests(stream, schema, one.buckets, one.look)


def _how(key: str, there: dict[str, str], here: dict[str, str]) -> str:
    if key not in here:
        return "in the source, not in raw"
    return "other values in raw" if key in there else "in raw, not in the source"


def _note(session: Any, load_id: int, one: Reconciled, landed: StreamManifest) -> None:
    assert landed.checksum is not None
    row = {
        "source_rows": one.source_rows,
        "raw_rows": one.raw_rows,
        "columns": list(landed.checksum.columns),
        "buckets": one.buckets,
        "differing": one.differing,
        "examples": json.dumps(one.examples, ensure_ascii=False),
    }
    ledger.record_reconciled(session, load_id, one.stream, row)


def _noted(session: Any, load_id: int) -> list[Reconciled]:
    fields: Sequence[str] = ("stream", "source_rows", "raw_rows", "buckets", "differing")
    return [
        Reconciled(**{name: row[name] for name in fields}, examples=tuple(row["examples"]))
        for row in ledger.found_different(session, load_id)
    ]
