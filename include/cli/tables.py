"""The ledger as tables for a terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from include.flows.books import unbalanced

_NUMBERS = ("extracted", "landed", "staged", "inserted", "updated", "unchanged", "deleted", "rejected")


def loads_table(rows: list[dict[str, Any]]) -> Table:
    """Rows of `ledger.load_stream`, joined with their loads, one line each."""
    table = _table("source", "stream", "load", "status", *_NUMBERS, "bytes", "books")
    for row in rows:
        wrong = unbalanced(row)
        table.add_row(
            row["source"],
            row["stream"],
            str(row["load_id"]),
            row["status"],
            *(_number(row[name]) for name in _NUMBERS),
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


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    words = ("source", "stream", "sync", "status", "books")
    for column in columns:
        table.add_column(column, justify="left" if column in words else "right", no_wrap=True)
    return table


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
