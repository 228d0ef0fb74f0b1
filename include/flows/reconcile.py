"""Raw compared with its source, whole tables at a time, without moving them.

The only moment at which they can be equal while the source goes on is that of a load's snapshot. So `extract` has the source
compute the fingerprints of its tables in that snapshot, the manifest keeps them, and once the load is published, and before
another one can be, raw is held against them. What differs is then looked at row by row.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from typing import Any

from include.core.contracts.source import SourceContract, Stream
from include.core.errors import BooksDoNotBalance, StaleLoad
from include.core.fingerprint import comparable
from include.core.manifest import StreamManifest
from include.core.quoting import identifier
from include.flows.source_run import SourceRun
from include.privacy import ProtectedSnapshot, read_keys
from include.sources import open_source
from include.warehouse import fingerprints, ledger
from include.warehouse.connect import connected

log = logging.getLogger("millrace.ingest")

#: What is looked at of a table that differs: so many buckets, so many rows of them, and so many rows shown.
_BUCKETS, _ROWS, _SHOWN = 32, 50_000, 10


@dataclass(frozen=True)
class Reconciled:
    """One stream: rows there and here, buckets in all and that differ, and rows of these that differ now."""

    stream: str
    source_rows: int
    raw_rows: int
    buckets: int
    differing: tuple[int, ...]
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.differing:
            return f"{self.stream}: {self.raw_rows:,} rows, equal"
        shown = "".join(f"\n    {example}" for example in self.examples)
        rows = f"{self.source_rows:,} rows in the source, {self.raw_rows:,} in raw"
        return f"{self.stream}: {rows}, {len(self.differing)} of {self.buckets} buckets differ{shown}"


def wanted(contract: SourceContract, asked: bool, session: Any) -> bool:
    """Whether this load shall be compared: somebody asked for it, or it is time by the contract."""
    return asked or (contract.reconcile is not None and ledger.reconciliation_due(session, contract))


def may_compare(contract: SourceContract, stream: Stream) -> bool:
    """Whether raw is meant to hold what the source holds: not where it drops keys that come twice."""
    return contract.duplicates == "none" or not stream.primary_key


def reconcile(run: SourceRun, load_id: int) -> list[Reconciled]:
    """Hold raw against the fingerprints of a published load; nothing where it has none.

    :raises BooksDoNotBalance: with the streams that differ, and keys of rows.
    """
    found: list[Reconciled] = []
    with run.lease_kept(load_id), connected(run.loader()) as session:
        told = {one.stream: one for one in run.manifest(session, load_id).streams if one.fingerprint}
        published = {
            row["stream"] for row in ledger.stream_rows(session, load_id) if row["status"] == "published"
        }
        try:
            with session.transaction():
                ledger.hold_lease(session, load_id)  # nobody publishes meanwhile
                found = [_compared(run, session, told[name]) for name in told if name in published]
        except StaleLoad:
            log.warning("not compared with its source: another load has been published since")
            return []
        found = [_looked_at(run, session, told[one.stream], one) for one in found]
        for one in found:
            log.log(logging.ERROR if one.differing else logging.INFO, "%s", one)
            ledger.record_reconciled(session, load_id, one.stream, _row(one, told[one.stream]))
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
    there = landed.fingerprint
    assert there is not None
    raw = identifier(run.contract.raw_schema, landed.stream)
    here = fingerprints.fingerprint(session, raw, comparable(landed.schema, there.columns), there.count)
    return Reconciled(landed.stream, there.rows, here.rows, there.count, tuple(there.differing(here)))


def _looked_at(run: SourceRun, session: Any, landed: StreamManifest, one: Reconciled) -> Reconciled:
    """The same with examples, when something differs: rows that differ now, as the snapshot is gone."""
    if not one.differing:
        return one
    assert landed.fingerprint is not None
    stream, some = run.contract.stream(one.stream), one.differing[:_BUCKETS]
    keys = read_keys(run.connect(run.contract.privacy_keys)) if run.contract.privacy_keys else None
    source = open_source(run.contract, run.connect(run.contract.connection))
    with source.snapshot([stream]) as clear:
        snapshot = ProtectedSnapshot(clear, (stream,), keys)
        told_by, shape = snapshot.fingerprints, snapshot.schemas[stream.name]
        there = told_by.digests(stream, shape, one.buckets, some, _ROWS) if told_by else {}
    schema = comparable(landed.schema, landed.fingerprint.columns)
    raw = identifier(run.contract.raw_schema, landed.stream)
    here = fingerprints.digests(session, raw, schema, one.buckets, some, _ROWS)
    differ = sorted(key for key in {*there, *here} if there.get(key) != here.get(key))
    personal = any(
        rule.pii for name, rule in stream.columns.items() if name in (schema.primary_key or schema.names)
    )
    what = f"key ({', '.join(schema.primary_key)})" if schema.primary_key else "row"
    examples = [f"{what} {_shown(key, personal)}: {_how(key, there, here)}" for key in differ[:_SHOWN]]
    if len(differ) > _SHOWN:
        examples.append(f"and {len(differ) - _SHOWN:,} more")
    return Reconciled(one.stream, one.source_rows, one.raw_rows, one.buckets, one.differing, tuple(examples))


def _how(key: str, there: dict[str, int], here: dict[str, int]) -> str:
    if key not in here:
        return "in the source, not in raw"
    return "other values in raw" if key in there else "in raw, not in the source"


def _shown(key: str, personal: bool) -> str:
    """The key, or, where it is personal, so much that one who may read the source finds the row."""
    if not personal:
        return key
    return f"with md5 {hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()}"


def _row(one: Reconciled, landed: StreamManifest) -> dict[str, Any]:
    assert landed.fingerprint is not None
    return {
        "source_rows": one.source_rows,
        "raw_rows": one.raw_rows,
        "columns": list(landed.fingerprint.columns),
        "buckets": one.buckets,
        "differing": len(one.differing),
        "examples": json.dumps(one.examples, ensure_ascii=False),
    }
