"""Data Docs: what an audit or a gate has asked of each table of a run and what it found, as a page that needs no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from include.core import chart
from include.core.connection import Connection
from include.warehouse import verdicts
from include.warehouse.connect import connected
from include.warehouse.verdicts import Kept

#: The connection of whoever shows pages: it may read all of the ledger, and whoever sees a page may read the DAG's logs.
READER = "warehouse_developer"
_PAGES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("pages")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
#: What the ledger calls the state of a batch or a table, in words of a reader.
_PASSED = ("passed", "audited", "published")


@dataclass(frozen=True)
class Line:
    """One rule of a page. `result`: holds, or what its severity makes of the failure."""

    rule: str
    why: str
    result: str
    observed: str
    chart: str
    examples: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Table:
    """The verdict on one table."""

    relation: str
    load_id: int | None
    passed: bool
    status: str
    at: datetime
    rows: int | None
    expectations: int
    lines: tuple[Line, ...]
    figures: tuple[dict[str, str], ...]

    @property
    def failing(self) -> int:
        return sum(line.result != "holds" for line in self.lines)


def page(
    connect: Callable[[str], Connection], kind: str, name: str, run_id: str, links: dict[str, str]
) -> str | None:
    """The page of a run, as HTML; None when nothing of it was judged.

    :param links: what the page leads to: its words, and where that is.
    """
    with connected(connect(READER)) as session:
        kept = verdicts.of_run(session, kind, name, run_id)
        figures = verdicts.figures(session, run_id, [one.relation for one in kept])
    if not kept:
        return None
    newest = max(one.load_id or 0 for one in kept)
    tables = [_table(one, figures) for one in kept]
    template = _PAGES.get_template("verdicts.html")
    return template.render(dag_id=f"{kind}__{name}", run_id=run_id, tables=tables, newest=newest, links=links)


def _table(kept: Kept, figures: list[dict[str, Any]]) -> Table:
    asked = kept.asked or {"key": [], "rules": []}
    failed = {one["rule"]: one for one in kept.failures}
    lines = [_failed(one, _why(asked, one["rule"]), asked["key"]) for one in kept.failures]
    lines += [
        Line(one["rule"], one["why"], "holds", "", "", ())
        for one in asked["rules"]
        if one["rule"] not in failed
    ]
    ours = [one for one in figures if (one["dataset"], one["load_id"]) == (kept.relation, kept.load_id)]
    return Table(
        kept.relation, kept.load_id, kept.status in _PASSED, kept.status, kept.at, kept.rows, kept.expectations,
        tuple(lines), tuple(map(_figure, ours)),
    )  # fmt: skip


def _why(asked: dict[str, Any], rule: str) -> str:
    return next((one["why"] for one in asked["rules"] if one["rule"] == rule), "")


def _failed(failure: dict[str, Any], why: str, key: list[str]) -> Line:
    """Of the rows that fail, their keys alone: with them, who may read the table finds the rest."""
    unexpected, checked = failure.get("unexpected"), failure.get("checked")
    share = f"{unexpected} of {checked} rows" if unexpected is not None and checked else ""
    share = share or (f"{unexpected} rows" if unexpected is not None else "")
    observed = ", ".join(part for part in (share, failure.get("observed") or "") if part)
    keys = [{name: row[name] for name in key if name in row} for row in failure.get("examples") or ()]
    return Line(
        failure["rule"], why, failure["severity"], observed, failure.get("chart") or "", tuple(row for row in keys if row)
    )  # fmt: skip


def _figure(row: dict[str, Any]) -> dict[str, str]:
    shown = [
        "" if row[name] is None else chart.shown(row["metric"], row[name], row["unit"])
        for name in ("value", "low", "high")
    ]
    return {
        "what": chart.words(row["metric"], row["column_name"], row["unit"]),
        "value": shown[0],
        "limits": f"{shown[1]} to {shown[2]}" if shown[1] else "",
        "place": chart.place(row["value"], row["low"], row["high"]),
        "state": row["state"],
        "compared": row["limits"] or "",
    }
