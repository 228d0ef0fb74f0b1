"""The command that shows the history of deadlines."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Runs")(deadlines)


def deadlines(
    name: Annotated[str, typer.Argument(help="Name of a contract; all when left out.")] = "",
    month: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m"], help="Such as 2026-11: this month only, and what was missed in it."),
    ] = None,
) -> None:
    """Show how many deadlines were met, by month (UTC), and with --month what was missed.

    Examples:

      millrace deadlines

      millrace deadlines shop --month 2026-11
    """
    from include.cli.connections import find
    from include.cli.tables import missed_table, months_table, show
    from include.flows.deadlines import history

    months, missed = history(find, name or None, month)
    if not months and not missed:
        typer.echo("no deadline has passed yet; they are judged by the DAG maintain, and when a run ends")
        return
    show(months_table(months))
    if missed:
        typer.echo()
        show(missed_table(missed))
