"""The entry point `millrace`.

A module of commands has a function `register(app)` and imports nothing heavy at its top: `millrace --help`
loads them all.
"""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from include.cli import (
    contract,
    deadlines,
    demo,
    discover,
    incidents,
    local,
    metrics,
    months,
    privacy,
    quarantine,
    replay,
    runs,
    slot,
    sync,
    tools,
    warehouse,
)
from include.core.errors import MillraceError


class _Commands(TyperGroup):
    """Our own errors end a command with their message and exit code 1, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except MillraceError as error:
            typer.secho(str(error), err=True, fg=typer.colors.RED)
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="""Run the whole data engineering lifecycle from one command line.

    [bold]First steps[/bold]

      millrace demo                   start everything and run the whole lifecycle on the demo shop

      millrace status                 what runs, and how to log in to the UI

      millrace ledger                 what was read, landed, staged and published

      millrace psql warehouse         look at the data

      millrace dbt build              build the models in your own schema

      millrace down                   stop everything

    [bold]Your own database[/bold] (put AIRFLOW_CONN_MY_DB=postgresql://user:password@host/database into .env)

      millrace discover --conn-id my_db --name my_db --write

      millrace contract check my_db

      millrace up

      millrace run ingest__my_db --wait

    Every command explains itself: [bold]millrace COMMAND --help[/bold].
    """,
)

for _module in (
    local,
    demo,
    runs,
    incidents,
    deadlines,
    metrics,
    months,
    quarantine,
    sync,
    replay,
    discover,
    contract,
    slot,
    privacy,
    tools,
    warehouse,
):
    _module.register(app)
