"""The ledger as tables for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from include.flows.books import unbalanced

if TYPE_CHECKING:
    from include.core.incident import Incident
    from include.flows.replay_plan import StreamPlan
    from include.warehouse.rebuild import Rebuilt

#: Columns of text; all others are numbers.
_WORDS = frozenset(
    "source stream sync status books table loads raw key state breaks severity what month contract deadline run mode"
    " destination reason why".split()
) | {
    *("brings back", "since (UTC)", "since", "acknowledged", "over", "missed at", "there since"),
    *("last run", "delivered (UTC)", "last (UTC)", "closed at"),
}
_NUMBERS = ("extracted", "landed", "staged", "inserted", "updated", "unchanged", "deleted", "rejected")


def loads_table(rows: list[dict[str, Any]]) -> Table:
    """Rows of `ledger.load_stream`, joined with their loads, one line each."""
    # duplicates: keys that came twice, and changes of a log that later ones took the place of
    seldom = ("retried", "quarantined", "duplicates")
    numbers = (*_NUMBERS, *(name for name in seldom if any(row[name] for row in rows)))
    table = _table("source", "stream", "load", "status", *numbers, "bytes", "books")
    for row in rows:
        wrong = unbalanced(row)
        table.add_row(
            row["source"],
            row["stream"],
            str(row["load_id"]),
            "replayed" if row.get("kind") == "replay" else row["status"],
            *(_number(row[name]) for name in numbers),
            _number(row["bytes"]),
            "balance" if not wrong else "; ".join(wrong),
        )
    return table


def quarantine_table(rows: list[dict[str, Any]]) -> Table:
    """Rows of `ledger.quarantine`, one line each."""
    table = _table("id", "stream", "key", "state", "since (UTC)", "breaks")
    for row in rows:
        table.add_row(
            str(row["quarantine_id"]),
            f"{row['source']}.{row['stream']}",
            ", ".join(f"{name}={value}" for name, value in row["key"].items()),
            row["state"],
            f"{row['first_at']:%Y-%m-%d %H:%M}",
            "; ".join(row["rules"]),
        )
    return table


def syncs_table(rows: list[dict[str, Any]]) -> Table:
    """Rows of `ledger.sync_run`, one line each."""
    numbers = ("read", "unchanged", "creates", "updates", "delivered", "rejected", "held", "unsent")
    table = _table("sync", "status", *numbers)
    for row in rows:
        table.add_row(row["sync"], row["status"], *(_number(row[name]) for name in numbers))
    return table


def sync_list_table(rows: list[dict[str, Any]]) -> Table:
    """Syncs, one line each: the contract, and what the ledger has of it."""
    table = _table("sync", "mode", "destination", "last run", "delivered (UTC)", "holds", "rejected")
    for row in rows:
        contract, at = row["contract"], row["last_delivered"]
        where = f"{contract.destination.connection} {contract.destination.place}"
        last = (row["last_status"] or "never", f"{at:%Y-%m-%d %H:%M}" if at else "")
        table.add_row(
            contract.sync, contract.mode, where, *last, _number(row["delivered"]), _number(row["rejected"])
        )
    return table


def sync_runs_table(rows: list[dict[str, Any]]) -> Table:
    """Rows of `ledger.sync_run` of one sync, one line each."""
    numbers = ("read", "unchanged", "creates", "updates", "delivered", "rejected", "held", "unsent")
    deletes = ("deletes", "deleted") if any(row["deletes"] for row in rows) else ()
    table = _table("since (UTC)", "status", "run", *numbers, *deletes)
    for row in rows:
        counts = (_number(row[name]) for name in (*numbers, *deletes))
        table.add_row(f"{row['started_at']:%Y-%m-%d %H:%M}", row["status"], row["run_id"], *counts)
    return table


def rejected_table(rows: list[dict[str, Any]], max_attempts: int) -> Table:
    """Rejected rows of `ledger.sync_record`, one line each."""
    table = _table("key", "what", "runs", "since (UTC)", "last (UTC)", "state", "reason")
    for row in rows:
        moments = (f"{row[name]:%Y-%m-%d %H:%M}" for name in ("first_seen_at", "last_attempt_at"))
        state = "held" if row["attempts"] >= max_attempts else "is sent again"
        counts = (row["action"] or "", _number(row["attempts"]))
        table.add_row(escape(row["record_key"]), *counts, *moments, state, escape(row["reason"] or ""))
    return table


def replay_plan_table(schema: str, plan: tuple[StreamPlan, ...]) -> Table:
    """What a replay would read of each stream, and what raw holds now."""
    table = _table(
        "table", "brings back", "loads", "manifests", "parts", "rows", "bytes", "raw now", "tombstones"
    )
    for one in plan:
        what = f"rows of loads {one.only[0]} to {one.only[1]}" if one.only else "all rows"
        loads = f"{one.loads[0]} to {one.loads[1]}" if one.steps else "none"
        now = (one.held.live, one.held.tombstones) if one.held else (None, None)
        numbers = (len(one.steps), *one.read, *now)
        table.add_row(f"{schema}.{one.stream}", what, loads, *map(_number, numbers))
    return table


def replayed_table(schema: str, done: dict[str, Rebuilt]) -> Table:
    """What a replay changed in each table of raw."""
    table = _table("table", "inserted", "updated", "unchanged", "deleted", "raw")
    for stream, outcome in done.items():
        numbers = (outcome.inserted, outcome.updated, outcome.unchanged, outcome.deleted)
        state = "is what it was" if outcome.as_before else "has changed"
        table.add_row(f"{schema}.{stream}", *map(_number, numbers), state)
    return table


def incidents_table(found: list[Incident]) -> Table:
    """Incidents, one line each."""
    table = _table("id", "severity", "what", "since", "seen", "acknowledged", "over")
    for one in found:
        table.add_row(
            str(one.incident_id),
            one.severity,
            escape(one.title),  # it may say which of several tasks, in brackets
            f"{one.opened_at:%Y-%m-%d %H:%M} UTC",
            _number(one.occurrences),
            escape(one.acknowledged_by or ""),
            f"{one.resolved_at:%Y-%m-%d %H:%M} UTC" if one.resolved_at else "",
        )
    return table


def months_table(rows: list[dict[str, Any]]) -> Table:
    """Rows of `ledger.deadline_month`, one line each."""
    table = _table("month", "contract", "deadline", "met", "missed", "met %")
    for row in rows:
        counts = (_number(row["met"]), _number(row["missed"]), f"{row['percent_met']:.1f}")
        table.add_row(f"{row['month']:%Y-%m}", f"{row['kind']} {row['name']}", row["rule"], *counts)
    return table


def missed_table(rows: list[dict[str, Any]]) -> Table:
    """Rows of `ledger.deadline` that were missed, one line each."""
    table = _table("missed at", "contract", "deadline", "there since", "run")
    for row in rows:
        since = f"{row['reached_at']:%Y-%m-%d %H:%M}" if row["reached_at"] else "not yet"
        contract = f"{row['kind']} {row['name']}"
        table.add_row(f"{row['due_at']:%Y-%m-%d %H:%M}", contract, row["rule"], since, row["run_id"] or "")
    return table


def closed_months_table(rows: list[dict[str, Any]]) -> Table:
    """Rows of `ledger.month`, one line each."""
    table = _table("month", "version", "closed at", "publication", "run", "why")
    for row in rows:
        closed = f"{row['closed_at']:%Y-%m-%d %H:%M}" if row["closed_at"] else "to build"
        publication = _number(row["publication_id"])
        table.add_row(
            f"{row['month']:%Y-%m}", str(row["version"]), closed, publication, row["run_id"] or "", row["why"]
        )
    return table


def show(table: Table) -> None:
    """Print a table; where the output is no terminal, wide enough for every column."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=180)
    console.print(table)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="left" if column in _WORDS else "right", no_wrap=True)
    return table


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
