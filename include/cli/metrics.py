"""What is known of the figures of a dataset: their history, limits and charts; and what a person says of them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

_PANEL = "Runs"
_Since = Annotated[
    datetime | None,
    typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="The first batch, in UTC, with --mark."),
]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(rich_help_panel=_PANEL)(metrics)


def metrics(
    dataset: Annotated[
        str, typer.Argument(help="Such as raw_shop.orders or marts.fct_orders; all when left out.")
    ] = "",
    column: Annotated[str, typer.Option("--column", "-c", help="The figures of a column.")] = "",
    last: Annotated[int, typer.Option("--last", "-n", help="How many batches.")] = 30,
    mark: Annotated[
        str,
        typer.Option(
            help="incident: the batches from --since to before --until are no history; normal: the batch at --since begins a"
            " new level."
        ),
    ] = "",
    since: _Since = None,
    until: _Since = None,
) -> None:
    """Show figures of the batches of a dataset, the limits that they were held against, and where they stood between them.

    Examples:

      millrace metrics

      millrace metrics raw_shop.orders

      millrace metrics raw_shop.orders --column total_amount

      millrace metrics raw_shop.orders --mark incident --since 2026-11-03 --until 2026-11-05
    """  # fmt: skip
    from include.cli.connections import find
    from include.cli.tables import show
    from include.flows import figures

    if mark:
        if mark not in ("incident", "normal") or not dataset or since is None:
            raise typer.BadParameter("--mark takes incident or normal, with a dataset and --since")
        count = figures.mark(find, dataset, _utc(since), _utc(until) if until else None, mark)
        typer.echo(f"{count} batches of {dataset} marked: {mark}")
        return
    if not dataset:
        show(_datasets_table(figures.datasets(find)))
        return
    found = figures.points(find, dataset, column, last)
    if not found:
        known = ", ".join(figures.columns(find, dataset)) or "none: no batch of it was audited yet"
        typer.echo(f"no figures of {dataset}{f', column {column}' if column else ''}; columns: {known}")
        raise typer.Exit(1)
    for table in _figures_tables(found):
        show(table)


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=timezone.utc)


def _datasets_table(rows: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table(
        "dataset", "batches", "newest", "out of limits there", box=None, pad_edge=False, header_style="bold"
    )
    for row in rows:
        table.add_row(
            row["dataset"], str(row["batches"]), f"{row['newest']:%Y-%m-%d %H:%M}", str(row["out"] or "")
        )
    return table  # fmt: skip


def _figures_tables(rows: list[dict[str, Any]]) -> list[Table]:
    """One table a metric: a line for each batch, the oldest first."""
    from rich.table import Table

    from include.core import chart

    tables: dict[str, Table] = {}
    for row in rows:
        metric, unit = row["metric"], row["unit"]
        if metric not in tables:
            title = chart.words(metric, row["column_name"], unit)
            tables[metric] = Table(
                "at", "value", "low", "high", "state", "low │ high", "limits", title=f"\n{title}",
                title_justify="left", box=None, pad_edge=False, header_style="bold",
            )  # fmt: skip
        value, low, high = (
            "" if one is None else chart.shown(metric, one, unit)
            for one in (row["value"], row["low"], row["high"])
        )
        state = {"left_out": "left out"}.get(row["state"], row["state"])
        place = chart.place(row["value"], row["low"], row["high"])
        tables[metric].add_row(
            f"{row['at']:%Y-%m-%d %H:%M}", value, low, high, state, place, row["limits"] or ""
        )
    return list(tables.values())
