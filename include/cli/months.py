"""The command that shows which months are closed, and opens one again."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Runs")(months)


def months(
    transform: Annotated[str, typer.Argument(help="Name of a transform.")],
    reopen: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m"], help="Such as 2026-10: the next run builds this month again."),
    ] = None,
    why: Annotated[str, typer.Option(help="Why, with --reopen.")] = "",
) -> None:
    """Show which months of a transform are closed, with which data, and what opened them again.

    Examples:

      millrace months shop

      millrace months shop --reopen 2026-10 --why "refunds of the recall"
    """
    from include.cli.account import account
    from include.cli.connections import find
    from include.cli.tables import closed_months_table, show
    from include.flows import months as flow

    if reopen is not None:
        if not why:
            raise typer.BadParameter("--reopen needs --why: it stays in the ledger")
        version = flow.reopen(find, transform, reopen.date(), account(), why)
        typer.echo(
            f"the next run of transform__{transform} builds {reopen:%Y-%m} again, as version {version}"
        )
        return
    rows = flow.history(find, transform)
    if not rows:
        typer.echo("no month is closed yet: see closes_months_from in the contract of the transform")
        return
    show(closed_months_table(rows))
