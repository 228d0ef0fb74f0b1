"""The documentation of a DAG in the UI, written from its contract: what it does, and what to do when it fails."""

from __future__ import annotations

from include.core.contracts import SourceContract, SyncContract, TransformContract
from include.core.contracts.common import DagContract

_STEPS = {
    SourceContract: """
`wait_for_commit_horizon` → `extract` → `stage[stream]` → `audit[stream]` → `publish` → `balance` → `complete` → `close`

1. **wait_for_commit_horizon**: until nothing that the source stamped before the run's end can still be committed.
2. **extract**: all streams in one snapshot of the source, as Parquet parts in the landing zone; their manifest comes last.
3. **stage**, **audit**: each stream into a staging batch, judged by its suite. Nobody sees it yet.
4. **publish**: rows, watermarks and ledger in one transaction.
5. **balance**: extracted = landed = staged = published. **complete** is reached when all went well. **close** frees the source
   for the next run, however this one went.

**Run again** what you like: a step that is done changes nothing. **Backfill** reads the past interval again from the
source, merges it, moves no watermark, and sends nothing to operational systems; streams in mode snapshot have no past
and are left out.""",
    TransformContract: """
`begin` → `build` (one task a dbt model) → `test` → `gate[table]` → `publish`

dbt builds a candidate that no consumer sees. When its tests and its gate pass, all tables are published in one transaction;
otherwise consumers keep the last good version. `millrace publish --rollback` goes back to the version before.""",
    SyncContract: """
`plan` → `deliver` → `settle`

1. **plan**: the difference between the model and what the destination has acknowledged.
2. **deliver**: sends only that; what is acknowledged is remembered batch by batch, what is rejected is kept with its reason.
3. **settle**: read = delivered + rejected + unchanged + unsent.

Started by a backfill only, it sends nothing, unless it is triggered by hand.""",
}


def documentation(contract: DagContract) -> str:
    """Markdown for `doc_md`."""
    owner = f"{contract.owner.team} ({contract.owner.contact})"
    parts = [
        contract.description,
        f"**Owner:** {owner}  \n**Consumers:** {', '.join(contract.consumers) or 'none named'}  \n"
        f"**Deadline:** {contract.deadline.after_queueing} after it was queued",
        "## What it does",
        _STEPS[type(contract)].strip(),
        *(_streams(contract) if isinstance(contract, SourceContract) else ()),
        "## When it fails",
        contract.runbook
        or "Read the failing task's log: the last lines say what happened, where, and what to do.",
        "A task in red has been tried as often as its contract says. Clear it, or the whole run, once the cause is gone.",
    ]
    return "\n\n".join(parts)


def _streams(contract: SourceContract) -> tuple[str, ...]:
    rows = [
        f"| {s.name} | {s.table} | {s.mode} | {s.cursor or ''} | {', '.join(s.primary_key) or 'none'} | {s.deletes} |"
        for s in contract.streams
    ]
    head = "| stream | table | mode | cursor | primary key | deletes |\n|---|---|---|---|---|---|"
    return ("## Streams", "\n".join([head, *rows]))
