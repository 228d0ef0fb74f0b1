"""The ledger as tables for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from include.flows.books import unbalanced

if TYPE_CHECKING:
    from include.flows.replay_plan import StreamPlan
    from include.warehouse.rebuild import Rebuilt

_NUMBERS = ("extracted", "landed", "staged", "inserted", "updated", "unchanged", "deleted", "rejected")


def loads_table(rows: list[dict[str, Any]]) -> Table:
    """Rows of `ledger.load_stream`, joined with their loads, one line each."""
    # keys that came twice, and changes of a log that later ones took the place of: most sources have neither
    numbers = (*_NUMBERS, "duplicates") if any(row["duplicates"] for row in rows) else _NUMBERS
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


def syncs_table(rows: list[dict[str, Any]]) -> Table:
    """Rows of `ledger.sync_run`, one line each."""
    numbers = ("read", "unchanged", "creates", "updates", "delivered", "rejected", "held", "unsent")
    table = _table("sync", "status", *numbers)
    for row in rows:
        table.add_row(row["sync"], row["status"], *(_number(row[name]) for name in numbers))
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


def show(table: Table) -> None:
    """Print a table; where the output is no terminal, wide enough for every column."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=180)
    console.print(table)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    words = {"source", "stream", "sync", "status", "books", "table", "brings back", "loads", "raw"}
    words |= {"month", "contract", "deadline", "missed at", "there since", "run"}
    for column in columns:
        table.add_column(column, justify="left" if column in words else "right", no_wrap=True)
    return table


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
