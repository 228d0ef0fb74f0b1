"""Commands for syncs."""

from __future__ import annotations

import typer

from include.cli import sync_verify


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(no_args_is_help=True, help="What goes back into operational systems.")
    sync_verify.register(group)
    app.add_typer(group, name="sync", rich_help_panel="Runs")
